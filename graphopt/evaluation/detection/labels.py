"""The boxes that are right, as YOLO writes them: class, then centre, width and height as parts of the image's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.detection.boxes import corners
from graphopt.ir import Array

PADDING = -1
"""The class of a row that is no box."""
MOST_BYTES = 1 << 24
"""Of one file."""


def read_boxes(folder: str | Path) -> Array:
    """The .txt files of a folder, in the order of their names, as ``[images, boxes, 5]``, padded with class -1.

    Raises ``InvalidInput`` for a folder without such files, and for a line that is no box.
    """
    files = sorted(Path(folder).glob("*.txt"))
    if not files:
        raise InvalidInput("has no .txt files", where=str(folder))
    images = [read_file(file) for file in files]
    padded = np.full((len(images), max(1, *map(len, images)), 5), PADDING, np.float64)
    for place, boxes in zip(padded, images, strict=True):
        place[: len(boxes)] = boxes
    return padded


def read_file(file: Path) -> Array:
    """The boxes of one image ``[boxes, 5]``."""
    if file.stat().st_size > MOST_BYTES:
        raise InvalidInput(f"has more than {MOST_BYTES:,} bytes", where=str(file))
    lines = [line.split() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    try:
        boxes = np.array(lines, np.float64).reshape(-1, 5)
    except ValueError as error:
        what = "has a line that is not `class x y width height`"
        raise InvalidInput(what, where=str(file), why=str(error)) from error
    if (boxes[:, 0] < 0).any():
        raise InvalidInput("has a negative class", where=str(file))
    return boxes


def truth(label: Array, size: tuple[int, int], classes: int, place: int) -> tuple[Array, Array]:
    """The classes and the corners in pixels of the boxes of an image. Raises ``InvalidInput`` for what is no box."""
    boxes = label[label[:, 0] != PADDING].astype(np.float64)
    kinds = boxes[:, 0]
    right = np.isfinite(boxes).all() and (boxes[:, 1:] >= 0).all() and (boxes[:, 1:] <= 1).all()
    if not right:
        what = f"a box of image {place} is not within 0 and 1"
        advice = "give class, centre x and y, width and height as parts of the image; pad with class -1"
        raise InvalidInput(what, where="labels", advice=advice)
    if (kinds < 0).any() or (kinds >= classes).any() or (kinds != np.round(kinds)).any():
        wrong = kinds[(kinds < 0) | (kinds >= classes) | (kinds != np.round(kinds))][0]
        what = f"a box of image {place} has the class {wrong:g}"
        raise InvalidInput(what, where="labels", why=f"the classes are 0 to {classes - 1}")
    height, width = size
    return kinds.astype(np.int64), corners(boxes[:, 1:] * (width, height, width, height))
