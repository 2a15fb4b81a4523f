"""Differential privacy of clients: clipped updates, Gaussian noise, and the epsilon that this comes to."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.extras import optional_packages
from graphopt.federated.wire import Update
from graphopt.ir import Array


@dataclass(frozen=True)
class Privacy:
    """The Gaussian mechanism on the sum of the updates of a round (DP-FedAvg: McMahan et al., 2018).

    The server adds the noise, so it must be trusted: what it sends is private, not what it is sent. What is protected
    is whether a client takes part at all. All clients count alike. A metric that the server computes on data of its own
    tells nothing of clients.

    Attributes:
        clip: the largest L2 norm of an update; longer ones are scaled to it, by the client and again by the server.
        noise: the standard deviation of the noise in the sum, as a multiple of ``clip``.
        delta: of (epsilon, delta); smaller than one over the number of clients.
        seed: of the noise. Who knows it can take the noise away, so by default the system's entropy makes it; then no
            two runs are the same.
    """

    clip: float
    noise: float
    delta: float = 1e-5
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (self.clip > 0 and self.noise > 0 and 0 < self.delta < 1):
            advice = "clip and noise are positive, delta is in (0, 1)"
            raise InvalidInput(f"{self} has a number out of range", where="privacy", advice=advice)

    def change(self, updates: Sequence[Update], size: int, expected: float, round: int) -> Array:
        """The noisy sum of the updates over how many clients are ``expected`` in a round, float64 ``[size]``."""
        entropy = None if self.seed is None else [self.seed, round]
        total = np.random.default_rng(entropy).normal(0, self.noise * self.clip, size)
        for update in updates:
            total += clipped(update.values, self.clip)
        return total / expected

    def epsilon(self, rounds: int, sampled: float) -> float:
        """What so many rounds come to, by opacus' accountant, where each client is in each with chance ``sampled``.

        Raises ``MissingPackage`` where opacus is not installed.
        """
        with optional_packages():
            from opacus.accountants import RDPAccountant
        accountant = RDPAccountant()
        accountant.history = [(self.noise, sampled, rounds)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the best order is the first or last of its list: the bound holds
            return float(accountant.get_epsilon(self.delta))


def clipped(values: Array, clip: float) -> Array:
    """The vector, scaled to this norm if it is longer; float64."""
    exact = values.astype(np.float64)
    norm = float(np.linalg.norm(exact))
    return exact * (clip / norm) if norm > clip else exact
