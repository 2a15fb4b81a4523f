"""Which cell learns which box."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CENTRAL = 0.25
"""A cell learns a box if its middle is at most this part of the box's sides from the box's middle."""


class Targets(NamedTuple):
    """For each cell a class ``[N, H, W]``, -1 where there is nothing, and the four distances ``[N, 4, H, W]``."""

    classes: Tensor
    distances: Tensor


def targets(boxes: Tensor, rows: int, columns: int) -> Targets:
    """Of boxes ``[N, boxes, 5]`` as YOLO writes them, padded with class -1: of several that a cell may learn the
    smallest. The cell that has the middle of a box may always."""
    kinds, middle, size = boxes[..., 0], boxes[..., 1:3], boxes[..., 3:5]
    cells = boxes.new_tensor([columns, rows])
    middle, size = middle * cells, size * cells
    at = cell_middles(rows, columns)
    away = (at - middle[:, :, None, None]).abs()
    reach = (CENTRAL * size).clamp_min(0.5)[:, :, None, None]
    learns = (away <= reach).all(-1) & (kinds >= 0)[:, :, None, None]
    area = torch.where(learns, size.prod(-1)[:, :, None, None], torch.inf)
    smallest, chosen = area.min(1)
    low, high = middle - size / 2, middle + size / 2
    distances = torch.cat([at - low[:, :, None, None], high[:, :, None, None] - at], -1)
    index = chosen[:, None, :, :, None].expand(-1, 1, -1, -1, 4)
    classes = torch.where(smallest < torch.inf, kinds.gather(1, chosen.flatten(1)).view_as(chosen), -1)
    return Targets(classes.long(), distances.gather(1, index)[:, 0].permute(0, 3, 1, 2))


def cell_middles(rows: int, columns: int) -> Tensor:
    """x and y in cells, as ``[rows, columns, 2]``."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], -1) + 0.5
