"""The networks of the example: each is made once, and read from its file afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import graphopt
from examples.detector.augment import Augmented
from examples.detector.data import Pictures
from examples.detector.loss import detection_loss
from examples.detector.net import Detector
from examples.drone.pictures import SIDE
from graphopt import training
from graphopt.ir import Graph
from graphopt.passes import FoldBatchNorm

TEACHER, STUDENT = 16, 5
"""The widths: the student has a ninth of the teacher's multiply-accumulates."""
OPTIMIZER = {"name": "AdamW", "lr": 2e-3, "weight_decay": 0.01}
LESSON = {"outputs": ("values", "binary-logits"), "alpha": 0.5, "temperature": 1.0}
"""What the teacher's outputs are, their part of the loss, and how far its probabilities are softened: not at all."""
GENTLE = {"name": "adam", "relative": 0.0005}
"""Steps of the training in int8, as a part of the size of each weight."""


@dataclass(frozen=True)
class Schedule:
    """How long everything is trained, on how many pictures, with how many seeds."""

    teacher: int
    student: int
    int8: int
    seeds: int
    board_samples: int
    pictures: int = 10_000


FULL = Schedule(teacher=36, student=36, int8=4, seeds=3, board_samples=20)
QUICK = Schedule(teacher=2, student=2, int8=1, seeds=1, board_samples=2, pictures=256)


@dataclass(frozen=True)
class Networks:
    """Trained on these pictures; the files, and the checkpoints of what was interrupted, are in the folder."""

    folder: Path
    pictures: Pictures
    schedule: Schedule

    def kept(self, name: str, train: Callable[[Path], Graph]) -> Graph:
        """The network of the file, or else trained, with a folder for the checkpoint, and stored."""
        file = self.folder / f"{name}.gopt"
        if not file.exists():
            graphopt.save(train(self.folder / f"{name}.checkpoint"), file)
        return graphopt.load(file)

    @property
    def data(self) -> Augmented:
        return Augmented(self.pictures)

    def median_box(self) -> Graph:
        """What one gets for nothing: the same box for every picture."""
        box = torch.from_numpy(self.pictures.boxes[:, 0, 1:]).median(0).values
        return graphopt.trace(Constant(box), (torch.zeros(2, 3, SIDE, SIDE),))

    def teacher(self) -> Graph:
        def train(checkpoint: Path) -> Graph:
            options = {"epochs": self.schedule.teacher, "optimizer": OPTIMIZER, "checkpoint": checkpoint}
            return training.fine_tune(untrained(TEACHER, 0), self.data, detection_loss, **options)

        return self.kept("teacher", train)

    def alone(self, seed: int) -> Graph:
        """The student by its labels only."""

        def train(checkpoint: Path) -> Graph:
            options = {"epochs": self.schedule.student, "optimizer": OPTIMIZER, "checkpoint": checkpoint}
            return training.fine_tune(untrained(STUDENT, seed), self.data, detection_loss, seed=seed, **options)

        return self.kept(f"alone-{seed}", train)

    def distilled(self, seed: int) -> Graph:
        """The same student, with the same steps, by what the teacher says as well."""

        def train(checkpoint: Path) -> Graph:
            return training.distill(
                self.teacher(),
                untrained(STUDENT, seed),
                self.data,
                detection_loss,
                **LESSON,
                epochs=self.schedule.student,
                optimizer=OPTIMIZER,
                seed=seed,
                checkpoint=checkpoint,
            )

        return self.kept(f"distilled-{seed}", train)

    def int8(self, seed: int) -> Graph:
        """The distilled student on integers, trained as the program that it is, by the teacher too: by the labels alone
        it would forget some of what it has learned. Its batch norms are folded with the statistics that they have. The
        pictures are hardly changed any more, as at the end of the training of YOLOX."""

        def train(checkpoint: Path) -> Graph:
            return training.quantization_aware(
                FoldBatchNorm()(self.distilled(seed)),
                Augmented(self.pictures, four_in_one=0, strength=0.3),
                detection_loss,
                teacher=self.teacher(),
                **LESSON,
                epochs=self.schedule.int8,
                optimizer=GENTLE,
                seed=seed,
                checkpoint=checkpoint,
            )

        return self.kept(f"int8-{seed}", train)


def untrained(width: int, seed: int) -> Graph:
    torch.manual_seed(seed)
    return graphopt.trace(Detector(width, classes=1), (torch.rand(2, 3, SIDE, SIDE),))


class Constant(nn.Module):
    """A detector of one cell, as large as the picture, that says the same of every picture."""

    def __init__(self, box: Tensor) -> None:
        super().__init__()
        middle, size = box[:2], box[2:]
        distances = torch.cat([0.5 - (middle - size / 2), middle + size / 2 - 0.5])
        self.register_buffer("distances", distances.reshape(1, 4, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        nothing = images[:, :1, :1, :1] * 0
        return nothing + self.distances, nothing
