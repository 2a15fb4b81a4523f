"""The pictures, and which of them come from one series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from examples.detector.data import SHARED, Pictures, read

SIDE = 96
ALIKE, ALIKE_NEAR, NEAR = 0.9, 0.85, 5
"""Pictures whose thumbnails correlate so much, or so much and are at most so many numbers apart, are of one series."""


class Split(NamedTuple):
    """Pictures to learn from, those to score, and how many are neither."""

    train: Pictures
    val: Pictures
    left_out: int


def split() -> Split:
    """``val`` as the archive has it, and of ``train`` what is in no series with a picture of ``val``.

    The files have consecutive numbers for names, which hold no series; so these are told by the pictures.
    """
    archive = SHARED / "data" / "drones_160.zip"
    train, val = (read(archive, part, SIDE, SIDE) for part in ("train", "val"))
    alone = ~siblings(train, val).any(1)
    return Split(train.only(alone), val, int((~alone).sum()))


def siblings(one: Pictures, other: Pictures) -> np.ndarray:
    """Which of one are of a series with which of the other, ``[n, m]``."""
    alike = thumbnails(one) @ thumbnails(other).T
    apart = np.abs(numbers(one)[:, None] - numbers(other))
    return (alike > ALIKE) | (alike > ALIKE_NEAR) & (apart <= NEAR)


def thumbnails(pictures: Pictures) -> np.ndarray:
    """Grey, 32 by 32, without their mean and of the length 1, ``[n, 1024]``: products are correlations."""
    grey = pictures.images.mean(1)
    small = np.stack([np.asarray(Image.fromarray(g).resize((32, 32), Image.Resampling.BOX)) for g in grey])
    rows = small.reshape(len(small), -1)
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def numbers(pictures: Pictures) -> np.ndarray:
    return np.array([int(name) for name in pictures.names])
