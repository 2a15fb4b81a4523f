"""How the updates of a round become one change of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.federated.wire import Update
from graphopt.ir import Array

State = Mapping[str, Array]
"""What a strategy keeps from round to round."""


@dataclass(frozen=True)
class Strategy:
    """How updates are aggregated. A strategy of your own overrides ``change``, and ``step`` if it needs one.

    ``proximal`` is a term of the clients' loss, ``linear`` whether the change is a mean: noise can be added to one, and
    numbers that were not sent may count as zeros in it.
    """

    @property
    def proximal(self) -> float:
        return 0.0

    @property
    def linear(self) -> bool:
        return True

    def change(self, updates: Sequence[Update]) -> Array:
        """By how much the weights are to change, float64 ``[size]``; zero where no client has an opinion."""
        raise NotImplementedError(type(self).__name__)

    def step(self, change: Array, state: State) -> tuple[Array, State]:
        """What is added to the weights of layers, and the state for the next round."""
        return change, state


@dataclass(frozen=True)
class FedAvg(Strategy):
    """The mean of the updates, weighted by the samples of the clients (McMahan et al., 2017)."""

    def change(self, updates: Sequence[Update]) -> Array:
        size = len(updates[0].values)
        total, weight = np.zeros(size), np.zeros(size)
        for update in updates:
            known = 1.0 if update.known is None else update.known.astype(np.float64)
            total += update.samples * known * update.values.astype(np.float64)
            weight += update.samples * known
        return np.divide(total, weight, out=np.zeros(size), where=weight > 0)


@dataclass(frozen=True)
class FedProx(FedAvg):
    """FedAvg whose clients are held near the global model, by mu/2 |w - w_global|² in their loss (Li et al., 2020)."""

    mu: float = 0.01

    def __post_init__(self) -> None:
        if not self.mu > 0:
            raise InvalidInput(f"mu = {self.mu} is not positive", where="FedProx")

    @property
    def proximal(self) -> float:
        return self.mu


@dataclass(frozen=True)
class FedAdam(FedAvg):
    """Adam on the server, with the mean update for a gradient (Reddi et al., 2021, algorithm 2).

    Statistics of batch norms are averaged: a step of Adam could make a variance negative.
    """

    rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 0.001

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.tau > 0 and 0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            advice = "rate and tau are positive, beta1 and beta2 in [0, 1)"
            raise InvalidInput(f"{self} has a number out of range", where="FedAdam", advice=advice)

    def step(self, change: Array, state: State) -> tuple[Array, State]:
        first = self.beta1 * state.get("first", np.zeros_like(change)) + (1 - self.beta1) * change
        second = self.beta2 * state.get("second", np.full_like(change, self.tau**2)) + (1 - self.beta2) * change**2
        return self.rate * first / (np.sqrt(second) + self.tau), {"first": first, "second": second}


@dataclass(frozen=True)
class TrimmedMean(Strategy):
    """For each number the mean without the lowest and highest ``fraction`` of the clients (Yin et al., 2018).

    Clients count alike, however many samples they say that they have.
    """

    fraction: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 0.5:
            raise InvalidInput(f"the fraction {self.fraction} is not in [0, 0.5)", where="TrimmedMean")

    @property
    def linear(self) -> bool:
        return False

    def change(self, updates: Sequence[Update]) -> Array:
        return trimmed(updates, lambda count: np.floor(self.fraction * count + 1e-9).astype(np.int64))


@dataclass(frozen=True)
class Median(Strategy):
    """For each number the median of the clients (Yin et al., 2018)."""

    @property
    def linear(self) -> bool:
        return False

    def change(self, updates: Sequence[Update]) -> Array:
        return trimmed(updates, lambda count: np.maximum(count - 1, 0) // 2)


def trimmed(updates: Sequence[Update], cut: Callable[[Array], Array]) -> Array:
    """The mean at each place without the ``cut`` lowest and highest numbers, a function of how many there are."""
    stacked = np.stack([u.values if u.known is None else np.where(u.known, u.values, np.nan) for u in updates])
    ordered = np.sort(stacked.astype(np.float64), 0)  # NaN, where a client has no opinion, comes last
    count = (~np.isnan(ordered)).sum(0)
    least, rank = cut(count), np.arange(len(updates))[:, None]
    inside = (rank >= least) & (rank < count - least)
    mean: Array = np.where(inside, ordered, 0).sum(0) / np.maximum(inside.sum(0), 1)
    return mean
