"""The pictures of a microscope's camera (BCCD, MIT licence): three kinds of cells, many to an image.

The boxes are as YOLO writes them: class, centre, width and height as parts of the image's.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from examples.camera.net import HEIGHT, WIDTH
from graphopt.evaluation.detection import read_boxes

INPUT = "images"
LEAST_LEFT = 0.3
"""The part of a box that must be within the image for it to count."""


@dataclass(frozen=True)
class Cells:
    """Images ``[n, 3, height, width]`` of 0 to 1, and boxes ``[n, boxes, 5]`` padded with class -1."""

    images: np.ndarray
    boxes: np.ndarray


def unpack(archive: Path, folder: Path) -> None:
    if not (folder / "images").exists():
        zipfile.ZipFile(archive).extractall(folder)


def read_cells(folder: Path, split: str) -> Cells:
    """One of ``train``, ``val`` and ``test``, in a folder that the archive was unpacked to."""
    files = sorted((folder / "images" / split).glob("*.jpg"))
    pictures = [np.asarray(Image.open(f).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BOX)) for f in files]
    images = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return Cells(images, read_boxes(folder / "labels" / split).astype(np.float32))


class Varied:
    """Batches of cells, each time in a new order, and each picture flipped, scaled, moved and tinted anew.

    Random numbers are those of torch, which the training loop seeds for every epoch.
    """

    def __init__(self, cells: Cells, batch_size: int = 8) -> None:
        self.images, self.boxes = torch.from_numpy(cells.images), torch.from_numpy(cells.boxes)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for chosen in torch.randperm(len(self.images)).split(self.batch_size)[: len(self)]:
            images, boxes = varied(self.images[chosen], self.boxes[chosen])
            yield {INPUT: images, "label": boxes}


def varied(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures and their boxes, each flipped in both axes, scaled by 0.75 to 1.35, moved by a tenth, and tinted."""
    n = len(images)
    flip = torch.randint(0, 2, (n, 2)) * 2.0 - 1
    scale = flip * torch.empty(n, 2).uniform_(0.9, 1.1) * torch.empty(n, 1).uniform_(0.8, 1.25)
    move = torch.empty(n, 2).uniform_(-0.1, 0.1)  # of the image's size
    back = torch.zeros(n, 2, 3)
    back[:, [0, 1], [0, 1]], back[:, :, 2] = 1 / scale, -2 * move / scale
    sampled = nn.functional.affine_grid(back, list(images.shape), align_corners=False)
    images = nn.functional.grid_sample(images, sampled, align_corners=False)
    tint = torch.empty(n, 3, 1, 1).uniform_(0.9, 1.1) * torch.empty(n, 1, 1, 1).uniform_(0.85, 1.15)
    middle = (boxes[..., 1:3] - 0.5) * scale[:, None] + 0.5 + move[:, None]
    return (images * tint).clamp(0, 1), within(boxes[..., :1], middle, boxes[..., 3:] * scale[:, None].abs())


def within(kinds: Tensor, middle: Tensor, size: Tensor) -> Tensor:
    """Boxes cut off at the border of the image; those of which little is left become padding."""
    low, high = (middle - size / 2).clamp(0, 1), (middle + size / 2).clamp(0, 1)
    left = (high - low).prod(-1, keepdim=True) / size.prod(-1, keepdim=True).clamp_min(1e-9)
    kinds = torch.where(left >= LEAST_LEFT, kinds, -1.0)
    return torch.cat([kinds, (low + high) / 2, high - low], -1)
