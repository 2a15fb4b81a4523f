"""What acts on a module between the steps of its training: masks, for one."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Moment(NamedTuple):
    """Where a run is: the epoch (from 1), its step and the steps since the start (from 0), the part that is done."""

    epoch: int
    step: int
    steps: int
    progress: float


class Companion:
    """Is told of every step. Each method may change the parameters and buffers of the module, under ``no_grad``."""

    @property
    def ready(self) -> bool:
        """Whether the module is as it is to be; before that its states do not count for the best."""
        return True

    def start(self, module: nn.Module) -> None:
        """Before all else, with the module on its device; a run that is taken up goes on to ``restore``."""

    def before_step(self, module: nn.Module, at: Moment) -> None:
        """The gradients are there, and the optimizer has not stepped."""

    def after_step(self, module: nn.Module, at: Moment) -> None:
        """The optimizer has stepped."""

    def after_epoch(self, module: nn.Module, at: Moment) -> None:
        """Before the module is evaluated; ``at`` is where the next epoch begins."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up from what ``state`` gave."""
