"""The loop that trains: any module, whatever it came from and goes back to."""

from __future__ import annotations

import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphopt.errors import InvalidInput
from graphopt.exporters.torch.module import TorchGraph
from graphopt.frontends.torch.check import random_numbers_kept, state_kept
from graphopt.progress import counted
from graphopt.training.band import WINDOW, Band
from graphopt.training.checkpoint import ANEW, Checkpoint, described, digest
from graphopt.training.companion import Companion, Moment
from graphopt.training.device import Devices, devices_of
from graphopt.training.history import Epoch, History
from graphopt.training.samples import Samples
from graphopt.training.schedules import schedule_of
from graphopt.training.settings import Settings
from graphopt.training.steps import optimizer_of

Batch = Mapping[str, Tensor]
ModuleLoss = Callable[[nn.Module, Batch], Tensor]
"""From the module, as it is to be called, and a batch of tensors by name, to a scalar."""

START_BATCHES = 16
"""The batches that tell what the loss is before the first step."""

SMALLER = "take smaller steps, optimizer={'name': 'adam', 'relative': 0.001}, or look at the data and the loss"


def train_module(
    module: nn.Module,
    samples: Samples,
    loss: ModuleLoss,
    settings: Settings,
    evaluate: Callable[[nn.Module], float] | None = None,
    companions: Sequence[Companion] = (),
) -> History:
    """Train a module in place, and leave it in evaluation mode, in the best state that it had.

    That is the one that ``evaluate`` rates highest (the first of equals; what the module came with counts), or the
    last where nothing evaluates. A run whose loss leaves its band (``Band``) is stopped with a warning; the epoch in
    which it does counts for nothing. With ``settings.checkpoint`` every epoch is stored, and a run that was
    interrupted goes on after the last whole epoch, to the same weights. The random numbers of torch, numpy and Python
    are of the seed meanwhile, and afterwards as they were.

    Raises ``InvalidInput`` for settings, data, a loss or a checkpoint that cannot be used.
    """
    with random_numbers_kept():
        return TrainingRun(module, samples, loss, settings, evaluate, companions).finish()


class TrainingRun:
    """A training run: what it is of, and how far it is."""

    def __init__(
        self,
        module: nn.Module,
        samples: Samples,
        loss: ModuleLoss,
        settings: Settings,
        evaluate: Callable[[nn.Module], float] | None,
        companions: Sequence[Companion],
    ) -> None:
        self.module, self.samples, self.loss, self.settings = module, samples, loss, settings
        self.evaluate, self.companions = evaluate, companions
        self.devices: Devices = devices_of(settings.fabric)
        self.checkpoint = self.checkpoint_of()
        self.optimizer = optimizer_of(settings.optimizer, module, settings.frozen)
        self.schedule = schedule_of(settings.schedule, self.optimizer)
        self.wrapped, self.stepper = self.devices.setup(module, self.optimizer)
        self.batches = samples.count and samples.count // self.devices.world_size
        self.history, self.best, self.counts = History(), state_of(module), False
        self.band = Band(())

    def checkpoint_of(self) -> Checkpoint | None:
        if self.settings.checkpoint is None:
            return None
        parts = {"loss": described(self.loss), "companions": [described(c) for c in self.companions]}
        run = {"module": digest(self.module.state_dict()), **parts, **self.settings.described}
        return Checkpoint(Path(self.settings.checkpoint), run)

    def finish(self) -> History:
        """Go on to the end, from wherever the run is."""
        with torch.no_grad():
            for companion in self.companions:
                companion.start(self.module)
        if not self.resumed():
            seed_all(self.settings.seed, 0)
            self.band = Band(self.losses_at_start())
            self.record(0, fmean(self.band.start), time.monotonic())
        self.began = time.monotonic(), self.moment(len(self.history.epochs), 0).progress
        while len(self.history.epochs) <= self.settings.epochs and self.history.stopped is None:
            self.epoch(len(self.history.epochs))
            self.store()
        self.module.cpu().eval()
        self.module.load_state_dict(self.best)
        if self.history.stopped:
            text = f"training stopped: {self.history.stopped}; the state after epoch {self.history.best} is kept"
            warnings.warn(f"{text}. {SMALLER}", stacklevel=5)
        return self.history

    def losses_at_start(self) -> list[float]:
        """The loss of some batches before the first step, computed as in training; the module stays as it is."""
        with state_kept(self.module), torch.no_grad():
            set_training(self.module, self.settings.frozen_norms)
            first = islice(self.epoch_batches(1), START_BATCHES)
            return needed([self.mean(self.loss_of(batch)) for batch in first])

    def loss_without_weights(self, batch: Batch) -> float:
        """The loss of a batch if all weights were zero, and no output depended on the inputs; they stay as they are."""
        weights = [parameter for parameter in self.module.parameters() if parameter.ndim > 1]
        kept = [weight.detach().clone() for weight in weights]
        with random_numbers_kept(), state_kept(self.module), torch.no_grad():
            try:
                for weight in weights:
                    weight.zero_()
                return self.mean(self.loss_of(batch))
            finally:
                for weight, data in zip(weights, kept, strict=True):
                    weight.copy_(data)

    def epoch(self, number: int) -> None:
        """Train for one epoch, whose number counts from 1; nothing of one in which the loss leaves its band is kept."""
        started, losses = time.monotonic(), list[float]()
        seed_all(self.settings.seed, number)
        set_training(self.module, self.settings.frozen_norms)
        told = counted(self.epoch_batches(number), lambda: self.progress_text(number, losses), self.batches)
        for step, batch in enumerate(told):
            losses.append(self.step(batch, self.moment(number, step)))
            if left := self.band.left_by(losses[-1], partial(self.loss_without_weights, batch)):
                self.history = replace(self.history, stopped=f"{left} in epoch {number}, step {step + 1}")
                return
        self.batches = self.batches or len(needed(losses))
        if not all(bool(parameter.isfinite().all()) for parameter in self.module.parameters()):
            self.history = replace(self.history, stopped=f"a weight is not finite after epoch {number}")
            return
        with torch.no_grad():
            for companion in self.companions:
                companion.after_epoch(self.module, self.moment(number + 1, 0))
        self.record(number, fmean(needed(losses)), started)
        kept = self.history.epochs[-1]
        self.schedule.after_epoch(-kept.loss if kept.metric is None else kept.metric)

    def epoch_batches(self, number: int) -> Iterator[Batch]:
        """The batches of this process in an epoch."""
        return self.samples.epoch(self.settings.seed, number, self.devices.global_rank, self.devices.world_size)

    def moment(self, number: int, step: int) -> Moment:
        done = min(step / self.batches, 1.0) if self.batches else 0.0
        progress = (number - 1 + done) / self.settings.epochs
        return Moment(number, step, (number - 1) * (self.batches or 0) + step, progress)

    def step(self, batch: Batch, at: Moment) -> float:
        """One step of the optimizer; gives the loss before it."""
        self.schedule.before_step(at.progress)
        self.optimizer.zero_grad()
        loss = self.loss_of(batch)
        if not loss.requires_grad:
            advice = "compute it from the outputs of the module, by functions of torch"
            raise InvalidInput("no parameter has a part in the loss", where="loss", advice=advice)
        value = self.mean(loss)
        if not math.isfinite(value):
            return value  # a step would spoil the weights, and the run ends here
        self.devices.backward(loss)
        with torch.no_grad():
            for companion in self.companions:
                companion.before_step(self.module, at)
        self.stepper.step()
        with torch.no_grad():
            for companion in self.companions:
                companion.after_step(self.module, at)
        return value

    def loss_of(self, batch: Batch) -> Tensor:
        """The loss of a batch on the device. Raises ``InvalidInput`` for what is no scalar."""
        with self.devices.autocast():
            value = self.loss(self.wrapped, self.devices.to_device(dict(batch)))
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise InvalidInput(f"the loss gives {value!r}", where="loss", advice="a scalar tensor is needed")
        return value.reshape(())

    def mean(self, loss: Tensor) -> float:
        """A loss as a number, the mean over the processes."""
        return float(self.devices.all_reduce(loss.detach()))

    def record(self, number: int, loss: float, started: float) -> None:
        """Add a point to the curve, and keep the state of the module if none before was better."""
        self.module.eval()
        metric = None
        if self.evaluate is not None:
            own = float(self.evaluate(self.module)) if self.devices.global_rank == 0 else 0.0
            metric = self.devices.broadcast(own)
        point = Epoch(number, loss, metric, seconds=time.monotonic() - started)
        ready = all(companion.ready for companion in self.companions)
        better = number == 0 or metric is None or rank(metric) > rank(self.history.kept.metric)
        if (better and ready) or not self.counts:
            self.best, self.counts = state_of(self.module), ready
            self.history = History((*self.history.epochs, point), number)
        else:
            self.history = History((*self.history.epochs, point), self.history.best)

    def progress_text(self, number: int, losses: list[float]) -> str:
        """What a listener hears of a step: the epoch, the loss of late, the best metric so far, and the time left."""
        parts = [f"epoch {number} of {self.settings.epochs}"]
        if losses:
            done = self.moment(number, len(losses)).progress
            seconds = (time.monotonic() - self.began[0]) * (1 - done) / max(done - self.began[1], 1e-9)
            parts += [f"loss {fmean(losses[-WINDOW:]):.4g}", f"{seconds:.0f} s left"]
        if (metric := self.history.kept.metric) is not None:
            parts.append(f"best metric {metric:.4g}")
        return ", ".join([*parts, "step"])

    def store(self) -> None:
        """Write the state after an epoch, by the first process."""
        if self.checkpoint is not None and self.devices.global_rank == 0:
            state = {
                "module": self.module.state_dict(),
                "best": self.best,
                "counts": self.counts,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "companions": [companion.state() for companion in self.companions],
                "history": asdict(self.history),
                "start": self.band.start,
                "scale": self.band.scale,
                "batches": self.batches,
            }
            self.checkpoint.write(state)
        self.devices.barrier()

    def resumed(self) -> bool:
        """Whether the run has been taken up from its checkpoint. Raises ``InvalidInput`` for one that does not fit."""
        state = self.checkpoint.read() if self.checkpoint is not None else None
        if state is None:
            return False
        try:
            self.take_up(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise InvalidInput(f"it does not fit this run: {error}", where="checkpoint", advice=ANEW) from error
        return True

    def take_up(self, state: dict[str, Any]) -> None:
        """Go back to where a run was when it stored this state."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        for companion, own in zip(self.companions, state["companions"], strict=True):
            companion.restore(own)
        written = state["history"]
        self.history = History(tuple(Epoch(**e) for e in written["epochs"]), written["best"], written["stopped"])
        self.best, self.counts = state["best"], state["counts"]
        self.band, self.batches = Band(state["start"], state.get("scale")), state["batches"]


def needed(losses: list[float]) -> list[float]:
    """The losses of batches; raises ``InvalidInput`` where there are none."""
    if not losses:
        raise InvalidInput("there is no data, or not enough for one batch", where="data")
    return losses


def rank(metric: float | None) -> float:
    """A metric for comparisons: NaN is the least."""
    return -math.inf if metric is None or math.isnan(metric) else metric


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters and buffers."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def seed_all(seed: int, epoch: int) -> None:
    """Seed the generators of torch, numpy and Python for an epoch, so that one can be begun without those before it.

    All processes have the same, or loaders that shuffle would not agree on the order.
    """
    drawn = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    torch.manual_seed(drawn)
    np.random.seed(drawn)
    random.seed(drawn)


def set_training(module: nn.Module, frozen_norms: bool) -> None:
    """Set a module to training; with ``frozen_norms`` its batch norms keep their statistics, and compute with them."""
    module.train()
    for part in module.modules() if frozen_norms else ():
        if isinstance(part, TorchGraph | nn.modules.batchnorm._BatchNorm):
            part.eval()
