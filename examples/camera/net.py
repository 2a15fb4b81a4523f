"""A small detector without anchor boxes: every cell of a grid says where the object on it is, and what."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEIGHT, WIDTH = 160, 224
"""Of the images, in pixels."""
STRIDE = 8
"""The pixels of a cell of the grid."""
CLASSES = ("red cell", "white cell", "platelet")
TYPICAL = 32.0
"""The side of a box in pixels, which the net begins with."""
RARE = -4.0
"""The score logit that it begins with: next to no cell has an object of a class."""


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, its batch norm and a ReLU."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Bottleneck(nn.Module):
    """Half the channels in between, and the way around."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.widen = conv(channels, channels // 2, 1), conv(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.widen(self.squeeze(x))


class CameraNet(nn.Module):
    """Images ``[N, 3, 160, 224]`` of 0 to 1 to boxes ``[N, 560, 4]`` and scores ``[N, 560, 3]``.

    A box is its centre, width and height in pixels, a score the probability of a class. ``width`` is the number of
    filters of the first layer; the others have up to eight times as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        c = width
        self.stem = nn.Sequential(conv(3, c, 3, 2), conv(c, 2 * c, 3, 2))
        self.eighth = nn.Sequential(conv(2 * c, 4 * c, 3, 2), Bottleneck(4 * c))
        self.sixteenth = nn.Sequential(conv(4 * c, 8 * c, 3, 2), Bottleneck(8 * c))
        self.last = nn.Sequential(conv(8 * c, 8 * c, 3, 2), Bottleneck(8 * c))
        self.from_last, self.from_sixteenth, self.from_eighth = (conv(n * c, 4 * c, 1) for n in (8, 8, 4))
        self.boxes = nn.Sequential(conv(4 * c, 4 * c), nn.Conv2d(4 * c, 4, 1))
        self.scores = nn.Sequential(conv(4 * c, 4 * c), nn.Conv2d(4 * c, len(CLASSES), 1))
        nn.init.constant_(self.scores[1].bias, RARE)
        self.register_buffer("start", torch.cat([grid(), torch.full((len(grid()), 2), TYPICAL)], 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        eighth = self.eighth(self.stem(images))
        sixteenth = self.sixteenth(eighth)
        joined = self.from_sixteenth(sixteenth) + twice(self.from_last(self.last(sixteenth)))
        joined = self.from_eighth(eighth) + twice(joined)
        boxes, scores = (head(joined).flatten(2).transpose(1, 2) for head in (self.boxes, self.scores))
        return self.start + STRIDE * boxes, torch.sigmoid(scores)


def twice(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def grid() -> Tensor:
    """The middle of every cell in pixels, x and y, row by row: ``[cells, 2]``."""
    y, x = torch.meshgrid(torch.arange(HEIGHT // STRIDE), torch.arange(WIDTH // STRIDE), indexing="ij")
    return (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * STRIDE
