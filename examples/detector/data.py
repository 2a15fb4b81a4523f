"""Labelled pictures from an archive: ``images/<split>/*.jpg`` and ``labels/<split>/*.txt``, as YOLO has them."""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np
from PIL import Image

SHARED = Path(os.environ.get("GRAPHOPT_SHARED", Path(__file__).parents[3] / "shared"))
"""The folder of the data."""


class Pictures(NamedTuple):
    """Images uint8 ``[n, 3, height, width]``; boxes float32 ``[n, most, 5]``, padded with class -1; and names."""

    images: np.ndarray
    boxes: np.ndarray
    names: list[str]

    def only(self, chosen: np.ndarray) -> Pictures:
        """Those at these places, or of this mask."""
        names = np.array(self.names)[chosen].tolist()
        return Pictures(self.images[chosen], self.boxes[chosen], names)

    def some(self, most: int) -> Pictures:
        """At most so many, evenly spread."""
        count = len(self.names)
        return self.only(np.linspace(0, count - 1, min(most, count)).astype(int))

    @property
    def floats(self) -> np.ndarray:
        """The images from 0 to 1."""
        return self.images.astype(np.float32) / 255


def read(archive: Path, split: str, height: int, width: int) -> Pictures:
    """The pictures of a split in the order of their names, scaled to one size."""
    with ZipFile(archive) as file:
        inside = set(file.namelist())
        names = sorted(name for name in inside if PurePosixPath(name).match(f"images/{split}/*.jpg"))
        images = np.stack([pixels(file.read(name), height, width) for name in names])
        labels = [name.replace("images/", "labels/").replace(".jpg", ".txt") for name in names]
        rows = [file.read(label).split() if label in inside else [] for label in labels]
    boxes = [np.array(row, np.float32).reshape(-1, 5) for row in rows]
    padded = np.full((len(boxes), max(map(len, boxes)), 5), -1, np.float32)
    for place, own in zip(padded, boxes, strict=True):
        place[: len(own)] = own
    return Pictures(images, padded, [PurePosixPath(name).stem for name in names])


def pixels(jpeg: bytes, height: int, width: int) -> np.ndarray:
    """``[3, height, width]``, each pixel the mean of what it covers."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((width, height), Image.Resampling.BOX)
    return np.asarray(image).transpose(2, 0, 1)
