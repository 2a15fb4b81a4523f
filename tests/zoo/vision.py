"""Detection, segmentation, images from images: input [n, 3, 32, 32] unless said otherwise."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from zoo.blocks import Cat, conv


class Ssd(nn.Module):
    """Boxes and scores from features of three sizes, as one list."""

    classes, anchors = 4, 3

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2))
        self.stages = nn.ModuleList([conv(32, 48, 3, 1), conv(48, 64, 3, 2), conv(64, 64, 3, 2)])
        self.boxes = nn.ModuleList([nn.Conv2d(c, self.anchors * 4, 3, padding=1) for c in (48, 64, 64)])
        self.scores = nn.ModuleList([nn.Conv2d(c, self.anchors * self.classes, 3, padding=1) for c in (48, 64, 64)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        boxes, scores = [], []
        for stage, box, score in zip(self.stages, self.boxes, self.scores, strict=True):
            x = stage(x)
            boxes.append(box(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4))
            scores.append(score(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.classes))
        return torch.cat(boxes, 1), torch.cat(scores, 1).softmax(-1)


class CenterNet(nn.Module):
    """The five best peaks of a heat map, and the sizes there."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2))
        self.heat, self.size = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.body(x)
        heat = self.heat(x).sigmoid()
        peaks = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)
        scores, places = peaks.flatten(1).topk(5)
        cells = (places % 64).unsqueeze(1).expand(-1, 2, -1)
        return scores, self.size(x).flatten(2).gather(2, cells)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([double(3, 16), double(16, 32), double(32, 64)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)])
        self.merge = nn.ModuleList([double(64, 32), double(32, 16)])
        self.last = nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return self.last(x)


def double(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(conv(inputs, outputs), conv(outputs, outputs))


class DeepLab(nn.Module):
    """Convolutions of several dilations and the global mean side by side, resized to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 32, dilation=2))
        self.pyramid = Cat(conv(32, 16, 1), *(conv(32, 16, dilation=d) for d in (2, 3, 4)))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(32, 16, 1))
        self.low, self.project = conv(16, 8, 1), conv(80, 32, 1)
        self.last = nn.Sequential(conv(40, 32), nn.Conv2d(32, 5, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.body[0](x)
        y = self.body[2](self.body[1](low))
        spread = functional.interpolate(self.pool(y), size=y.shape[2:], mode="bilinear", align_corners=False)
        y = self.project(torch.cat([self.pyramid(y), spread], 1))
        y = functional.interpolate(y, size=low.shape[2:], mode="bilinear", align_corners=False)
        y = self.last(torch.cat([y, self.low(low)], 1))
        return functional.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class Fcn(nn.Module):
    """Coarse classes, enlarged by transposed convolutions, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2)), conv(32, 64, 3, 2)
        self.coarse, self.skip = nn.Conv2d(64, 5, 1), nn.Conv2d(32, 5, 1)
        self.twice = nn.ConvTranspose2d(5, 5, 4, 2, 1, bias=False)
        self.four = nn.ConvTranspose2d(5, 5, 8, 4, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.four(self.twice(self.coarse(self.second(x))) + self.skip(x))


def espcn() -> nn.Module:
    """Super-resolution by a factor of three; input [n, 1, 24, 24]."""
    layers = [nn.Conv2d(1, 32, 5, padding=2), nn.Tanh(), nn.Conv2d(32, 16, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*layers, nn.Conv2d(16, 9, 3, padding=1), nn.PixelShuffle(3))


def autoencoder() -> nn.Module:
    """Input [n, 64]."""
    layers: list[nn.Module] = []
    for a, b in pairwise([64, 48, 8, 48]):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(48, 64))


class VariationalAutoencoder(nn.Module):
    """Mean, log-variance, and the image decoded from a sample; input an image and noise [n, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), nn.Flatten())
        self.mean, self.log_variance = nn.Linear(2048, 16), nn.Linear(2048, 16)
        up = [nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.GroupNorm(4, 16), nn.ELU(), nn.ConvTranspose2d(16, 3, 4, 2, 1)]
        self.decoder = nn.Sequential(nn.Linear(16, 2048), nn.ELU(), nn.Unflatten(1, (32, 8, 8)), *up, nn.Sigmoid())

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.encoder(x)
        mean, log_variance = self.mean(x), self.log_variance(x)
        return self.decoder(mean + noise * (log_variance * 0.5).exp()), mean, log_variance


class StyleTransfer(nn.Module):
    """Reflected borders, instance norms, nearest upsampling."""

    def __init__(self) -> None:
        super().__init__()
        down = [nn.ReflectionPad2d(4), nn.Conv2d(3, 8, 9), nn.InstanceNorm2d(8, affine=True), nn.ReLU()]
        down += [nn.ReflectionPad2d(1), nn.Conv2d(8, 16, 3, 2), nn.InstanceNorm2d(16, affine=True), nn.ReLU()]
        up = [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(16, 8, 3), nn.InstanceNorm2d(8), nn.ReLU()]
        self.body = nn.Sequential(*down, *up, nn.ReplicationPad2d(1), nn.Conv2d(8, 3, 3), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)
