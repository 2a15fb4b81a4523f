"""What acts on a module between the steps of its training: masks, for one."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Moment(NamedTuple):
    """Where a run is: the epoch and the step of it, both from 0, the steps since the start, the part that is done."""

    epoch: int
    step: int
    steps: int
    progress: float


class Companion:
    """Is told of every step. Each method may change the parameters and buffers of the module, under ``no_grad``."""

    def start(self, module: nn.Module) -> None:
        """Before the first step, and again where a run is taken up."""

    def before_step(self, module: nn.Module, at: Moment) -> None:
        """The gradients are there, and the optimizer has not stepped."""

    def after_step(self, module: nn.Module, at: Moment) -> None:
        """The optimizer has stepped."""

    def after_epoch(self, module: nn.Module, epoch: int) -> None:
        """Before the module is evaluated; epochs count from 1."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up from what ``state`` gave."""
