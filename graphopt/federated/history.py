"""What a federated run has to tell: its rounds, and the graph and program that came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from graphopt.ir import Graph
from graphopt.runtime import Program


@dataclass(frozen=True)
class Dropped:
    """A client whose update of a round was not used, and why."""

    client: str
    why: str


@dataclass(frozen=True)
class Round:
    """One round; number 0 is what the run began with."""

    number: int
    metric: float | None = None
    """What ``evaluate`` gave of the model after it, higher being better; None where nothing evaluates."""
    clients: int = 0
    """How many clients were asked."""
    up: int = 0
    """The bytes of all messages from clients, as sent; those of dropped updates count."""
    down: int = 0
    """The bytes of all messages to clients."""
    dropped: tuple[Dropped, ...] = ()
    epsilon: float | None = None
    """What all rounds so far come to, with privacy."""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class FederatedHistory:
    """The rounds of a run, and the one whose weights were kept."""

    rounds: tuple[Round, ...] = ()
    best: int = 0

    @property
    def kept(self) -> Round:
        return self.rounds[self.best]

    @property
    def up(self) -> int:
        """The bytes that clients sent in all."""
        return sum(r.up for r in self.rounds)

    @property
    def down(self) -> int:
        """The bytes that were sent to clients in all."""
        return sum(r.down for r in self.rounds)

    @property
    def seconds(self) -> float:
        return sum(r.seconds for r in self.rounds)

    @property
    def dropped(self) -> tuple[tuple[int, Dropped], ...]:
        """Who was dropped in which round."""
        return tuple((r.number, d) for r in self.rounds for d in r.dropped)

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Self:
        """From its fields, as a checkpoint has them."""
        rounds = (Round(**{**r, "dropped": tuple(Dropped(**d) for d in r["dropped"])}) for r in written["rounds"])
        return cls(tuple(rounds), written["best"])


@dataclass(frozen=True, eq=False)
class Federated:
    """What came of learning together.

    Attributes:
        graph: the model after its compression, which the program was compiled from; without one, ``model``.
        program: what is deployed; None where nothing was asked for.
        history: of the rounds.
        model: the model with the float weights that were learned; learning can go on from it.
    """

    graph: Graph
    program: Program | None
    history: FederatedHistory
    model: Graph
