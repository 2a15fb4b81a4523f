"""Pictures as they might have been: moved, scaled, flipped, four in one, in other light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from examples.detector.data import Pictures

SCALE, ASPECT, SHIFT = 0.35, 0.1, 0.12
"""How much larger or smaller, wider or narrower (both as logarithms), and how far aside (of the picture)."""
LIGHT = 0.25
"""How much brightness, contrast and saturation differ."""
VISIBLE = 0.4
"""A box of which less is left is none."""


@dataclass(frozen=True)
class Augmented:
    """Batches of pictures, each time otherwise, by the random numbers of torch; what training takes as its data.

    ``four_in_one`` is the part of the batches that are mosaics, ``strength`` how much of all other change there is.
    """

    pictures: Pictures
    batch_size: int = 32
    upside_down: bool = False
    four_in_one: float = 0.25
    strength: float = 1.0

    def __len__(self) -> int:
        return len(self.pictures.images) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        images, boxes = torch.from_numpy(self.pictures.images), torch.from_numpy(self.pictures.boxes)
        for chosen in torch.randperm(len(images)).split(self.batch_size)[: len(self)]:
            batch = images[chosen].float() / 255, boxes[chosen]
            if torch.rand(()) < self.four_in_one:
                batch = mosaic(*batch)
            x, y = moved(*batch, self.upside_down, self.strength)
            yield {"images": in_other_light(x, self.strength), "label": y}


def mosaic(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Each picture in a quarter, with three others of the batch around it."""
    order = [torch.randperm(len(images)) for _ in range(4)]
    half = functional.avg_pool2d(images, 2)
    a, b, c, d = (half[o] for o in order)
    whole = torch.cat([torch.cat([a, b], 3), torch.cat([c, d], 3)], 2)
    parts = []
    for place, o in enumerate(order):
        corner = torch.tensor([place % 2, place // 2]) / 2
        own = boxes[o]
        parts.append(torch.cat([own[..., :1], own[..., 1:3] / 2 + corner, own[..., 3:] / 2], -1))
    return whole, torch.cat(parts, 1)


def moved(images: Tensor, boxes: Tensor, upside_down: bool, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Scaled, shifted and flipped, each picture by itself; what was outside is black."""
    count = len(images)
    zoom = (strength * (spread(SCALE, count, 1) + spread(ASPECT, count, 1) * torch.tensor([1, -1]))).exp()
    flips = torch.where(torch.rand(count, 2) < 0.5, -1, 1)
    if not upside_down:
        flips[:, 1] = 1
    by, shift = zoom * flips, strength * spread(SHIFT, count, 2)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = (1 / by).unbind(1)
    matrix[:, :, 2] = -2 * shift / by
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    middle = (boxes[..., 1:3] - 0.5) * by[:, None] + 0.5 + shift[:, None]
    size = boxes[..., 3:] * zoom[:, None]
    return functional.grid_sample(images, grid, align_corners=False), clipped(boxes[..., :1], middle, size)


def clipped(kinds: Tensor, middle: Tensor, size: Tensor) -> Tensor:
    """Boxes cut off at the edges of the picture; those that are hardly there any more are padding."""
    low, high = (middle - size / 2).clamp(0, 1), (middle + size / 2).clamp(0, 1)
    left = (high - low).prod(-1, keepdim=True) >= VISIBLE * size.prod(-1, keepdim=True)
    return torch.cat([torch.where(left, kinds, -1), (low + high) / 2, high - low], -1)


def in_other_light(images: Tensor, strength: float) -> Tensor:
    """Of other brightness, contrast about the mean of the picture, and saturation: colours times one matrix."""
    bright, contrast, colour = (strength * spread(LIGHT, len(images), 1, 1) for _ in range(3))
    grey = torch.full((3, 3), 1 / 3)
    matrix = (1 + contrast) * (grey + (torch.eye(3) - grey) * (1 + 2 * colour))
    offset = bright / 2 - contrast * images.mean((1, 2, 3))[:, None, None]
    return torch.baddbmm(offset, matrix, images.flatten(2)).view_as(images).clamp_(0, 1)


def spread(most: float, *shape: int) -> Tensor:
    """Random numbers from -most to most."""
    return (2 * torch.rand(shape) - 1) * most
