"""Image classifiers for servers, at the size of a thumbnail: input [n, 3, 32, 32]."""

from __future__ import annotations

import torch
from torch import nn

from zoo.blocks import Cat, Sum, conv, head


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for width in (16, 32, 64):
        layers += [conv(inputs, width), conv(width, width), nn.MaxPool2d(2)]
        inputs = width
    classifier = [nn.Linear(64 * 4 * 4, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10)]
    return nn.Sequential(*layers, nn.Flatten(), *classifier)


def basic(inputs: int, outputs: int, stride: int) -> nn.Module:
    body = nn.Sequential(conv(inputs, outputs, 3, stride), conv(outputs, outputs, act=None))
    same = stride == 1 and inputs == outputs
    return nn.Sequential(Sum(body, nn.Identity() if same else conv(inputs, outputs, 1, stride, act=None)), nn.ReLU())


def resnet18() -> nn.Module:
    layers: list[nn.Module] = [conv(3, 16)]
    inputs = 16
    for width, stride in ((16, 1), (32, 2), (64, 2), (128, 2)):
        layers += [basic(inputs, width, stride), basic(width, width, 1)]
        inputs = width
    return nn.Sequential(*layers, *head(128))


def bottleneck(inputs: int, inner: int, stride: int) -> nn.Module:
    outputs = inner * 4
    body = nn.Sequential(conv(inputs, inner, 1), conv(inner, inner, 3, stride), conv(inner, outputs, 1, act=None))
    same = stride == 1 and inputs == outputs
    return nn.Sequential(Sum(body, nn.Identity() if same else conv(inputs, outputs, 1, stride, act=None)), nn.ReLU())


def resnet50() -> nn.Module:
    layers: list[nn.Module] = [conv(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = 16
    for inner, count, stride in ((8, 3, 1), (16, 4, 2), (32, 6, 2), (64, 3, 2)):
        for i in range(count):
            layers.append(bottleneck(inputs, inner, stride if i == 0 else 1))
            inputs = inner * 4
    return nn.Sequential(*layers, *head(inputs))


def squeezenet() -> nn.Module:
    def fire(inputs: int, squeeze: int, outputs: int) -> nn.Module:
        wide = [nn.Sequential(nn.Conv2d(squeeze, outputs, k, padding=k // 2), nn.ReLU()) for k in (1, 3)]
        return nn.Sequential(nn.Conv2d(inputs, squeeze, 1), nn.ReLU(), Cat(*wide))

    stem = [nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    fires = [fire(32, 8, 16), fire(32, 8, 16), nn.MaxPool2d(3, 2, ceil_mode=True), fire(32, 16, 32)]
    return nn.Sequential(*stem, *fires, nn.Conv2d(64, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        inner = growth * 4
        first = [nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, inner, 1, bias=False)]
        second = [nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, growth, 3, padding=1, bias=False)]
        self.body = nn.Sequential(*first, *second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
    width = 16
    for block in range(3):
        for _ in range(3):
            layers.append(DenseLayer(width, 8))
            width += 8
        if block < 2:
            shrink = nn.Conv2d(width, width // 2, 1, bias=False)
            layers += [nn.BatchNorm2d(width), nn.ReLU(), shrink, nn.AvgPool2d(2)]
            width //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), *head(width))


def inception() -> nn.Module:
    def block(inputs: int, width: int) -> nn.Module:
        return Cat(
            conv(inputs, width, 1),
            nn.Sequential(conv(inputs, width, 1), conv(width, width, 3)),
            nn.Sequential(conv(inputs, width, 1), conv(width, width, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inputs, width, 1)),
        )

    return nn.Sequential(conv(3, 16, 3, 2), block(16, 8), nn.MaxPool2d(2), block(32, 16), *head(64))


class ChannelsLast(nn.Module):
    """A layer norm over the channels of an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))) * self.scale
        return x + y.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 4, 4), ChannelsLast(16), ConvNextBlock(16), ConvNextBlock(16)]
    layers += [ChannelsLast(16), nn.Conv2d(16, 32, 2, 2), ConvNextBlock(32), ConvNextBlock(32)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 10))
