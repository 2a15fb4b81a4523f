"""How a module is trained: what every training call can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from graphopt.errors import InvalidInput
from graphopt.training.checkpoint import described
from graphopt.training.samples import BATCH_SIZE
from graphopt.training.schedules import ScheduleChoice
from graphopt.training.steps import OptimizerChoice


class Options(TypedDict, total=False):
    """The arguments that every training call takes: the fields of ``Settings``."""

    epochs: int
    optimizer: OptimizerChoice
    schedule: ScheduleChoice
    seed: int
    checkpoint: str | Path | None
    fabric: Any
    frozen_norms: bool
    frozen: Sequence[str]
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a module is trained.

    Attributes:
        epochs: how often the data is gone through.
        optimizer: a name of ``torch.optim``, a mapping of ``name`` and options, or a function from parameters to an
            optimizer. An adaptive one without ``lr`` has steps ``relative`` to the size of each weight, by default
            0.3 % of it.
        schedule: ``cosine``, ``linear``, ``constant``; a class of ``torch.optim.lr_scheduler`` by name, or as a
            mapping with its options; or a function from the optimizer to one. Those step after every epoch.
        seed: of the order of the data and of all random numbers: the same seed, the same weights.
        checkpoint: a folder, from which an interrupted run goes on, to the weights that it would have had.
        fabric: a launched ``lightning_fabric.Fabric``: more than one device, other precisions.
        frozen_norms: batch norms keep their statistics, and compute with them.
        frozen: patterns of names of parameters that stay as they are, ``("backbone.*",)``. Constants of a graph that
            there is nothing to learn of, such as the centres of the cells of a detector's grid, are parameters too.
        batch_size: the samples of a batch where the data is in no batches yet, and the net does not fix it.

    Raises ``InvalidInput`` for numbers out of range.
    """

    epochs: int = 10
    optimizer: OptimizerChoice = "adam"
    schedule: ScheduleChoice = "cosine"
    seed: int = 0
    checkpoint: str | Path | None = None
    fabric: Any = None
    frozen_norms: bool = False
    frozen: Sequence[str] = ()
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InvalidInput(f"{self.epochs} epochs, 1 is the least", where="epochs")
        if self.batch_size < 1:
            raise InvalidInput(f"batches of {self.batch_size}, 1 is the least", where="batch_size")
        if self.seed < 0:
            raise InvalidInput(f"the seed {self.seed} is negative", where="seed")

    @property
    def described(self) -> dict[str, str]:
        """What must be the same in a run that is taken up from a checkpoint."""
        names = "epochs", "seed", "frozen_norms", "batch_size", "optimizer", "schedule"
        return {name: described(getattr(self, name)) for name in names} | {"frozen": described(tuple(self.frozen))}
