"""The network: convolutions down to a stride of 32, joined at 16, and one head of two outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDE = 16
"""Pixels of a cell; the sides of images are multiples of twice that."""


class Detector(nn.Module):
    """For each cell the box that it sees and a score for each class.

    ``width`` is that of the first layer; the others have 2, 4, 8 and 8 times as many channels. Images are
    ``[N, 3, H, W]``, 0 to 1. The outputs are two, so that each has a scale of its own when quantized: distances
    ``[N, 4, H/16, W/16]`` from the middle of the cell to the left, top, right and bottom of the box, in cells; and
    logits ``[N, classes, H/16, W/16]``.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        c = width
        self.stride8 = nn.Sequential(conv(3, c, 2), conv(c, 2 * c, 2), conv(2 * c, 4 * c, 2), Bottleneck(4 * c))
        self.stride16 = nn.Sequential(conv(4 * c, 8 * c, 2), Bottleneck(8 * c))
        self.stride32 = nn.Sequential(conv(8 * c, 8 * c, 2), Bottleneck(8 * c))
        self.up = nn.Upsample(scale_factor=2)
        self.join = conv(16 * c, 8 * c)
        self.boxes, self.scores = nn.Conv2d(8 * c, 4, 1), nn.Conv2d(8 * c, classes, 1)
        nn.init.constant_(self.boxes.bias, 1.0)
        nn.init.constant_(self.scores.bias, -4.0)  # most cells see nothing: 2 % at first

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        near = self.stride16(self.stride8(images))
        joined = self.join(torch.cat([self.up(self.stride32(near)), near], 1))
        return self.boxes(joined), self.scores(joined)


class Bottleneck(nn.Module):
    """Half the channels and back, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2, size=1), conv(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def conv(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())
