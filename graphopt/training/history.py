"""What a training run has to tell: its curve, and the graph that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

from graphopt.ir import Graph


@dataclass(frozen=True)
class Epoch:
    """One point of the curve; epoch 0 is what training began with."""

    number: int
    loss: float
    """The mean over the batches of the epoch; of epoch 0, over some of them before the first step."""
    metric: float | None = None
    """What ``evaluate`` gave at its end, higher being better; None where nothing evaluates."""
    stage: int = 0
    """Which fine-tuning of several it belongs to, as after each pruning."""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class History:
    """The curve of a run, the epoch whose state was kept, and why it ended early, if it did."""

    epochs: tuple[Epoch, ...] = ()
    best: int = 0
    stopped: str | None = None

    @property
    def kept(self) -> Epoch:
        """The epoch whose state was kept."""
        return self.epochs[self.best]

    @classmethod
    def joined(cls, stages: Sequence[History]) -> History:
        """The curve of fine-tunings one after the other; what the last kept is kept."""
        epochs = [replace(epoch, stage=i) for i, history in enumerate(stages) for epoch in history.epochs]
        numbered = tuple(replace(epoch, number=n) for n, epoch in enumerate(epochs))
        last = stages[-1]
        stopped = next((history.stopped for history in stages if history.stopped), None)
        return cls(numbered, len(numbered) - len(last.epochs) + last.best, stopped)


@dataclass(frozen=True, eq=False)
class TrainedGraph(Graph):
    """A graph that also carries the curve of the training that it came by; passes that rewrite it may keep that."""

    history: History = History()

    @classmethod
    def of(cls, graph: Graph, history: History) -> Self:
        return cls(**{f.name: getattr(graph, f.name) for f in fields(Graph)}, history=history)
