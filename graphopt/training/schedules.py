"""How the learning rate goes along a run: by a name, or by any schedule of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from graphopt.errors import InvalidInput

ScheduleChoice = str | Mapping[str, Any] | Callable[[Optimizer], LRScheduler]
"""A name of ``CURVES``; the ``name`` of a class of ``torch.optim.lr_scheduler`` and its options; or a function."""

RISE = 0.05


def cosine(progress: float) -> float:
    """Up in the first twentieth of the run, and down to nothing by half a cosine (Loshchilov & Hutter, 2017)."""
    if progress < RISE:
        return 0.1 + 0.9 * progress / RISE
    return (1 + math.cos(math.pi * (progress - RISE) / (1 - RISE))) / 2


CURVES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": cosine,
    "linear": lambda progress: 1 - progress,
}
"""The factor of the learning rate by the part of the run that is done."""


class Schedule(Protocol):
    """What sets the learning rates of an optimizer."""

    def before_step(self, progress: float) -> None: ...
    def after_epoch(self, quality: float) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Curve:
    """Learning rates by the part of the run that is done, set before every step; they have no state."""

    def __init__(self, optimizer: Optimizer, factor: Callable[[float], float]) -> None:
        self.optimizer, self.factor = optimizer, factor
        self.base = [group["lr"] for group in optimizer.param_groups]

    def before_step(self, progress: float) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = rate * self.factor(progress)

    def after_epoch(self, quality: float) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Scheduler:
    """A schedule of PyTorch, which steps after every epoch; one for plateaus is told the metric, or minus the loss."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self.scheduler = scheduler

    def before_step(self, progress: float) -> None:
        pass

    def after_epoch(self, quality: float) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(quality if self.scheduler.mode == "max" else -quality)
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state)


def schedule_of(choice: ScheduleChoice, optimizer: Optimizer) -> Schedule:
    """The schedule that is asked for. Raises ``InvalidInput`` for an unknown name or option."""
    if isinstance(choice, str) and choice in CURVES:
        return Curve(optimizer, CURVES[choice])
    if isinstance(choice, str | Mapping):
        options = {"name": choice} if isinstance(choice, str) else dict(choice)
        return Scheduler(scheduler_named(str(options.pop("name", "")), options, optimizer))
    if not callable(choice):
        raise InvalidInput(f"{choice!r} is no name, mapping or function", where="schedule")
    made = choice(optimizer)
    if not isinstance(made, LRScheduler):
        raise InvalidInput(f"the function gives {made!r}, which is no schedule of PyTorch", where="schedule")
    return Scheduler(made)


def scheduler_named(name: str, options: dict[str, Any], optimizer: Optimizer) -> LRScheduler:
    kind = getattr(torch.optim.lr_scheduler, name, None)
    if not isinstance(kind, type) or not issubclass(kind, LRScheduler):
        advice = f"one of {', '.join(CURVES)}, or a class of torch.optim.lr_scheduler"
        raise InvalidInput(f"no schedule is called {name!r}", where="schedule", advice=advice)
    try:
        return kind(optimizer, **options)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} does not take that: {error}", where="schedule") from error
