"""Convolutional networks with layers that classifiers have not: each function gives a module and example inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from models import tiny_yolo as zoo_yolo

Net = tuple[nn.Module, tuple[Tensor, ...]]


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Three levels of 16, 32 and 64 channels; up again by transposed convolutions of 2x2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = double_conv(3, 16), double_conv(16, 32), double_conv(32, 64)
        self.up_second, self.up_first = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join_second, self.join_first = double_conv(64, 32), double_conv(32, 16)
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(self.pool(first))
        third = self.third(self.pool(second))
        second = self.join_second(torch.cat([second, self.up_second(third)], 1))
        first = self.join_first(torch.cat([first, self.up_first(second)], 1))
        return self.last(first)  # type: ignore[no-any-return]


class DilatedBlock(nn.Module):
    """Two causal convolutions of three taps, and what came in is added."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        self.one, self.two = (nn.Conv1d(channels, channels, 3, dilation=dilation) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(self.pad(x)))
        return torch.relu(x + torch.relu(self.two(self.pad(y))))


def seeded(net: nn.Module, *shape: int) -> Net:
    return net.eval(), (torch.randn(*shape, generator=torch.Generator().manual_seed(0)),)


def unet() -> Net:
    """Segments an image of 128x128."""
    torch.manual_seed(0)
    return seeded(UNet(), 1, 3, 128, 128)


def tcn() -> Net:
    """Four residual blocks of 64 channels, dilated by 1, 2, 4 and 8, over 200 steps."""
    torch.manual_seed(0)
    return seeded(nn.Sequential(*(DilatedBlock(64, 2**i) for i in range(4))), 1, 64, 200)


def tiny_yolo() -> Net:
    """The detector of the tests, on an image of 320x320."""
    torch.manual_seed(0)
    return seeded(zoo_yolo(), 1, 3, 320, 320)
