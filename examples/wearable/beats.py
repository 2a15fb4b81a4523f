"""The heartbeats, cut into those to learn from, to choose by and to score; and the learners among eight patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from graphopt.federated import dirichlet
from graphopt.ir import Array

SHARED = Path(os.environ.get("GRAPHOPT_SHARED", Path(__file__).parents[3] / "shared"))
STEPS, FRAME, CLASSES = 20, 15, 5
"""A beat of 300 samples is 20 frames of 15."""
HELD, CALIBRATION, SPLIT_SEED = 2000, 256, 0
PATIENTS, ALPHA, PATIENT_SEED, LEAST = 8, 0.5, 0, 200
"""How many patients there are, how little they are alike, by which draw, and the fewest beats of one."""


class Beats(NamedTuple):
    """Beats ``x`` float32 [n, 20, 15] and their classes ``label`` int64 [n], 0 being normal."""

    x: Array
    label: Array

    def some(self, places: Array | slice) -> Beats:
        return Beats(self.x[places], self.label[places])

    @property
    def arrays(self) -> dict[str, Array]:
        return self._asdict()


class Split(NamedTuple):
    """Beats to learn from, to choose settings by, and to score once. None is in two."""

    train: Beats
    held: Beats
    test: Beats

    @property
    def calibration(self) -> Array:
        """What ranges of integers are measured on: the maker's own beats, of no patient."""
        return self.held.x[:CALIBRATION]


def split(most: int | None = None) -> Split:
    """The beats of the archive; of each part at most so many."""
    with np.load(SHARED / "data" / "ecg_beats.npz") as file:
        train, test = (
            Beats(
                file[f"x_{part}"].astype(np.float32).reshape(-1, STEPS, FRAME),
                file[f"y_{part}"].astype(np.int64),
            )
            for part in ("train", "test")
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(len(train.x))
    parts = train.some(order[HELD:]), train.some(order[:HELD]), test
    return Split(*(part.some(slice(most)) for part in parts))


def patients(train: Beats) -> list[Beats]:
    """The beats of each patient: every class is shared out unevenly."""
    least = min(LEAST, len(train.x) // (4 * PATIENTS))
    return [train.some(places) for places in dirichlet(train.label, PATIENTS, ALPHA, PATIENT_SEED, least)]
