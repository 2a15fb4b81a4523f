"""Image classifiers for small machines: input [n, 3, 32, 32]."""

from __future__ import annotations

import torch
from torch import nn

from zoo.blocks import SqueezeExcite, Sum, conv, head


def mobilenet_v1() -> nn.Module:
    layers: list[nn.Module] = [conv(3, 16, 3, 2)]
    inputs = 16
    for width, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        layers += [conv(inputs, inputs, 3, stride, groups=inputs), conv(inputs, width, 1)]
        inputs = width
    return nn.Sequential(*layers, *head(128))


def inverted(
    inputs: int, inner: int, outputs: int, kernel: int, stride: int, act: type[nn.Module], squeeze: nn.Module | None
) -> nn.Module:
    """Expand, depthwise, squeeze and excite, project; added to the input where the shapes agree."""
    body = nn.Sequential(
        *([conv(inputs, inner, 1, act=act)] if inner != inputs else []),
        conv(inner, inner, kernel, stride, groups=inner, act=act),
        *([squeeze] if squeeze else []),
        conv(inner, outputs, 1, act=None),
    )
    return Sum(nn.Identity(), body) if stride == 1 and inputs == outputs else body


def mobilenet_v2() -> nn.Module:
    blocks = [inverted(16, 16, 8, 3, 1, nn.ReLU6, None)]
    inputs = 8
    for width, stride in ((16, 2), (16, 1), (24, 2), (24, 1), (32, 1)):
        blocks.append(inverted(inputs, inputs * 6, width, 3, stride, nn.ReLU6, None))
        inputs = width
    return nn.Sequential(conv(3, 16, 3, 2, act=nn.ReLU6), *blocks, conv(32, 128, 1, act=nn.ReLU6), *head(128))


def mobilenet_v3() -> nn.Module:
    def block(inputs: int, inner: int, outputs: int, kernel: int, stride: int, late: bool) -> nn.Module:
        squeeze = SqueezeExcite(inner, inner // 4, nn.ReLU, nn.Hardsigmoid) if kernel == 5 else None
        return inverted(inputs, inner, outputs, kernel, stride, nn.Hardswish if late else nn.ReLU, squeeze)

    blocks = [block(16, 32, 16, 3, 1, False), block(16, 64, 24, 5, 2, False), block(24, 72, 24, 5, 1, True)]
    blocks += [block(24, 96, 40, 3, 2, True), block(40, 120, 40, 5, 1, True)]
    last = [conv(40, 96, 1, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(
        conv(3, 16, act=nn.Hardswish), *blocks, *last, nn.Linear(96, 64), nn.Hardswish(), nn.Linear(64, 10)
    )


def efficientnet() -> nn.Module:
    def block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        squeeze = SqueezeExcite(inputs * 4, inputs, nn.SiLU, nn.Sigmoid)
        return inverted(inputs, inputs * 4, outputs, kernel, stride, nn.SiLU, squeeze)

    blocks = [block(16, 16, 3, 1), block(16, 24, 3, 2), block(24, 24, 5, 1), block(24, 40, 5, 2), block(40, 40, 3, 1)]
    return nn.Sequential(conv(3, 16, 3, 2, act=nn.SiLU), *blocks, conv(40, 96, 1, act=nn.SiLU), *head(96))


class ShuffleUnit(nn.Module):
    """Half of the channels pass, the other half are worked on; then the two are interleaved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(conv(half, half, 1), conv(half, half, 3, 1, half, act=None), conv(half, half, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1)
        return shuffle(torch.cat([left, self.body(right)], 1))


class ShuffleDown(nn.Module):
    """Both halves of the result from all channels, at half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(conv(inputs, inputs, 3, 2, inputs, act=None), conv(inputs, half, 1))
        self.right = nn.Sequential(conv(inputs, half, 1), conv(half, half, 3, 2, half, act=None), conv(half, half, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return shuffle(torch.cat([self.left(x), self.right(x)], 1))


def shuffle(x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet_v2() -> nn.Module:
    stages = [ShuffleDown(16, 32), ShuffleUnit(32), ShuffleUnit(32), ShuffleDown(32, 64), ShuffleUnit(64)]
    return nn.Sequential(conv(3, 16, 3, 2), *stages, conv(64, 128, 1), *head(128))
