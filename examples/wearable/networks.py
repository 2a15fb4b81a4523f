"""The networks of the example: each is made once, and read from its file afterwards."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import graphopt
from examples.wearable.beats import CLASSES, FRAME, STEPS, Split, patients
from graphopt.federated import Compression, Quantized, TopK, federate
from graphopt.ir import Graph
from graphopt.passes import Quantize
from graphopt.targets import Target, get_target
from graphopt.training import fine_tune

HIDDEN, BATCH, SEED = 32, 64, 0
CENTRAL = {"name": "adam", "lr": 0.008}
LOCAL = {"name": "SGD", "lr": 0.5, "momentum": 0.9}
"""The optimizers: of the training in one place, and of a patient in a round, at first."""
UPDATES = {"float": Compression(), "compressed": Quantized(4) | TopK(0.25)}
RAM = 64 * 1024


@dataclass(frozen=True)
class Schedule:
    """How long everything is trained, on how many beats, and how many run on the emulated board."""

    epochs: int
    rounds: int
    local: int
    """The epochs of a patient in a round."""
    board: int
    beats: int | None = None


FULL = Schedule(epochs=30, rounds=100, local=3, board=50)
QUICK = Schedule(epochs=2, rounds=3, local=1, board=2, beats=1600)


class Net(nn.Module):
    """A GRU over the 20 frames of a beat, and a classifier on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(FRAME, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.layer(x)
        scores: Tensor = self.head(states[:, -1])
        return scores


class Learned(NamedTuple):
    """A network in floats, and what its learning cost."""

    graph: Graph
    told: dict[str, Any]


@dataclass(frozen=True)
class Networks:
    """Trained on these beats; the files, and the checkpoints of what was interrupted, are in the folder."""

    folder: Path
    beats: Split
    schedule: Schedule

    def kept(self, name: str, learn: Callable[[Path], Learned]) -> Learned:
        """The network of the file, or else learned, with a folder for the checkpoint, and stored."""
        file, story = self.folder / f"{name}.gopt", self.folder / f"{name}.json"
        if not story.exists():
            made = learn(self.folder / f"{name}.checkpoint")
            graphopt.save(made.graph, file)
            story.write_text(json.dumps(made.told) + "\n")
        return Learned(graphopt.load(file), json.loads(story.read_text()))

    def central(self) -> Learned:
        """All beats in one place."""

        def learn(checkpoint: Path) -> Learned:
            started, data = time.monotonic(), self.beats.train.arrays
            options = {"epochs": self.schedule.epochs, "batch_size": BATCH, "optimizer": CENTRAL}
            made = fine_tune(untrained(), data, cross_entropy, seed=SEED, checkpoint=checkpoint, **options)
            return Learned(made, {"seconds": time.monotonic() - started})

        return self.kept("central", learn)

    def together(self, kind: str) -> Learned:
        """Each patient's beats with the patient: rounds of a few epochs, with smaller and smaller steps."""

        def local(round: int) -> dict[str, Any]:
            rate = LOCAL["lr"] * (0.02 + 0.49 * (1 + math.cos(math.pi * (round - 1) / self.schedule.rounds)))
            return {"epochs": self.schedule.local, "batch_size": BATCH, "optimizer": {**LOCAL, "lr": rate}}

        def learn(checkpoint: Path) -> Learned:
            made = federate(
                untrained(),
                [patient.arrays for patient in patients(self.beats.train)],
                self.schedule.rounds,
                local,
                UPDATES[kind],
                loss=cross_entropy,
                seed=SEED,
                checkpoint=checkpoint,
                compress=self.int8,
                deploy=board(),
            )
            assert made.program is not None
            made.program.save(self.folder / f"{kind}-firmware")
            history = made.history
            sums = {
                "up": history.up,
                "down": history.down,
                "seconds": history.seconds,
                "rounds": len(history.rounds) - 1,
            }
            dropped = [{"round": number, **asdict(who)} for number, who in history.dropped]
            return Learned(made.model, {**sums, "dropped": dropped})

        return self.kept(kind, learn)

    def int8(self, graph: Graph) -> Graph:
        """A network on integers, whose ranges are those of the maker's own beats."""
        return Quantize(calibration=self.beats.calibration)(graph)


def untrained() -> Graph:
    torch.manual_seed(SEED)
    return graphopt.trace(Net(), (torch.zeros(2, STEPS, FRAME),))


def cross_entropy(outputs: Tensor | tuple[Tensor, ...], batch: Any) -> Tensor:
    assert isinstance(outputs, Tensor)
    return nn.functional.cross_entropy(outputs, batch["label"])


def board() -> Target:
    """A Cortex-M4 with 64 KB of RAM: a program that takes more is refused."""
    return replace(get_target("cortex-m4"), ram=RAM)
