"""What the detector learns by: cells near the middle of an object are to give its box, and say how well they do."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from examples.camera.net import CLASSES, HEIGHT, STRIDE, WIDTH, grid

NEAR = 1.5 * STRIDE
"""Cells so many pixels from the middle of an object, in x and y, are its own, unless they are outside of it."""
LEAST_SIDE = 1.0
"""Sides are linear outputs, and may be negative at first: the loss takes them for so many pixels."""


def detection_loss(outputs: tuple[Tensor, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """2 (1 - GIoU + 0.1 smooth L1) of the boxes of objects, and 3 times the quality focal loss of the scores.

    Each class is divided by its own number of cells (Li et al., 2020, of the focal loss): a rare class would starve.
    """
    boxes, scores = outputs
    kinds, wanted = assigned(batch["label"])
    found = nn.functional.one_hot(kinds + 1, len(CLASSES) + 1)[..., 1:].float()  # none of a cell without an object
    count = found.sum((0, 1))
    share = 1 / count.clamp_min(1) / (count > 0).sum().clamp_min(1)
    own = kinds >= 0
    overlap, generous = overlaps(corners(boxes[own]), corners(wanted[own]))
    far = nn.functional.smooth_l1_loss(boxes[own] / STRIDE, wanted[own] / STRIDE, reduction="none").mean(-1)
    quality = found.clone()
    quality[own] *= overlap.detach().clamp_min(0)[:, None]
    wrong = nn.functional.binary_cross_entropy(scores, quality, reduction="none") * (scores - quality).square()
    box_loss = ((1 - generous + 0.1 * far) * share[kinds[own]]).sum()
    return 2 * box_loss + 3 * (wrong.sum((0, 1)) * share).sum()


def assigned(label: Tensor) -> tuple[Tensor, Tensor]:
    """For each cell the class of its object, -1 of none, ``[n, cells]``, and its box in pixels, ``[n, cells, 4]``.

    Of two objects that a cell is near to, it is the smaller one's.
    """
    boxes = label[..., 1:] * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    away = (grid()[None, :, None] - boxes[:, None, :, :2]).abs()
    near = (away < boxes[:, None, :, 2:].div(2).clamp_max(NEAR)).all(-1) & (label[:, None, :, 0] >= 0)
    area = torch.where(near, boxes[:, None, :, 2:].prod(-1), torch.inf)
    smallest, place = area.min(-1)
    kinds = label[..., 0].gather(1, place).long()
    return torch.where(smallest.isfinite(), kinds, -1), boxes.gather(1, place[..., None].expand(-1, -1, 4))


def corners(boxes: Tensor) -> Tensor:
    """Left, top, right and bottom of boxes by centre, width and height."""
    half = boxes[..., 2:].clamp_min(LEAST_SIDE) / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def overlaps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and the same made generous (GIoU, Rezatofighi et al., 2019), of boxes in pairs."""
    shared = (torch.minimum(one, other)[:, 2:] - torch.maximum(one, other)[:, :2]).clamp_min(0).prod(-1)
    hull = (torch.maximum(one, other)[:, 2:] - torch.minimum(one, other)[:, :2]).prod(-1)
    both = (one[:, 2:] - one[:, :2]).prod(-1) + (other[:, 2:] - other[:, :2]).prod(-1) - shared
    return shared / both, shared / both - (hull - both) / hull
