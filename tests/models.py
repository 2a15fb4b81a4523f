"""Models in plain torch for tests, with seeded weights and batch norm statistics that matter."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode, every parameter and statistic drawn anew."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.5, 0.5)
                uniform(module.running_mean, -0.5, 0.5)
                uniform(module.running_var, 0.5, 1.5)
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                fan_in = module.weight[0].numel()
                uniform(module.weight, -((3 / fan_in) ** 0.5), (3 / fan_in) ** 0.5)
                if module.bias is not None:
                    uniform(module.bias, -0.1, 0.1)
    return model.eval()


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers = [*conv_bn(inputs, hidden, 1), nn.ReLU6(inplace=True)] if expand > 1 else []
        layers += [*conv_bn(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True), *conv_bn(hidden, outputs, 1)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, width: float, classes: int) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(8, int(channels * width + 4) // 8 * 8)

        inputs = scaled(32)
        layers: list[nn.Module] = [nn.Sequential(*conv_bn(3, inputs, 3, 2), nn.ReLU6(inplace=True))]
        settings = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
        for expand, channels, count, stride in [*settings, (6, 320, 1, 1)]:
            for i in range(count):
                layers.append(InvertedResidual(inputs, scaled(channels), stride if i == 0 else 1, expand))
                inputs = scaled(channels)
        last = max(1280, scaled(1280))
        layers.append(nn.Sequential(*conv_bn(inputs, last, 1), nn.ReLU6(inplace=True)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


def mobilenet_v2(width: float = 1.0, classes: int = 1000) -> nn.Module:
    """MobileNetV2 as in torchvision; input [n, 3, h, w]."""
    return seeded(MobileNetV2(width, classes))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, outputs, 3, stride)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv_bn(outputs, outputs, 3)
        self.downsample = nn.Sequential(*conv_bn(inputs, outputs, 1, stride)) if stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(classes: int = 1000) -> nn.Module:
    """ResNet-18 as in torchvision; input [n, 3, h, w]."""
    return seeded(ResNet18(classes))


class ConvSilu(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = conv_bn(inputs, outputs, kernel, stride)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvSilu(channels, channels, 3)
        self.cv2 = ConvSilu(channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.cv2(self.cv1(x))


class C2f(nn.Module):
    """Split in two, one half through bottlenecks, everything concatenated."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cv1 = ConvSilu(inputs, outputs)
        self.m = nn.ModuleList([Bottleneck(outputs // 2)])
        self.cv2 = ConvSilu(outputs // 2 * 3, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class Sppf(nn.Module):
    """Max-pools of growing reach, concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvSilu(channels, channels // 2)
        self.m = nn.MaxPool2d(5, 1, 2)
        self.cv2 = ConvSilu(channels * 2, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cv1(x)
        y = self.m(x)
        z = self.m(y)
        return self.cv2(torch.cat([x, y, z, self.m(z)], 1))


class Detect(nn.Module):
    """Boxes by a softmax over bins (decoded on a grid) and class scores, per scale."""

    bins = 8

    def __init__(self, classes: int, channels: list[int]) -> None:
        super().__init__()
        self.classes = classes
        self.box = nn.ModuleList([nn.Conv2d(c, 4 * self.bins, 1) for c in channels])
        self.score = nn.ModuleList([nn.Conv2d(c, classes, 1) for c in channels])
        self.register_buffer("values", torch.arange(self.bins, dtype=torch.float32))

    def forward(self, features: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        boxes, scores = [], []
        for level, x in enumerate(features):
            n, _, h, w = x.shape
            bins = self.box[level](x).view(n, 4, self.bins, h * w).softmax(2)
            distance = (bins * self.values.view(1, 1, -1, 1)).sum(2)
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack([columns, rows]).reshape(1, 2, h * w).float() + 0.5
            low, high = grid - distance[:, :2], grid + distance[:, 2:]
            boxes.append(torch.cat([(low + high) / 2, high - low], 1) * (8 * 2**level))
            scores.append(self.score[level](x).flatten(2).sigmoid())
        return torch.cat(boxes, 2).permute(0, 2, 1), torch.cat(scores, 2).transpose(1, 2)


class TinyYolo(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvSilu(3, 8, 3, 2), ConvSilu(8, 16, 3, 2))
        self.p3 = nn.Sequential(C2f(16, 16), ConvSilu(16, 32, 3, 2))
        self.p4 = nn.Sequential(C2f(32, 32), ConvSilu(32, 64, 3, 2), Sppf(64))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.merge = C2f(96, 32)
        self.detect = Detect(classes, [32, 64])

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        p3 = self.p3(self.stem(image))
        p4 = self.p4(p3)
        p3 = self.merge(torch.cat([self.up(p4), p3], 1))
        boxes, scores = self.detect([p3, p4])
        return {"boxes": boxes, "scores": scores}


def tiny_yolo(classes: int = 4) -> nn.Module:
    """A small anchor-free detector; input [n, 3, h, w], h and w multiples of 16."""
    return seeded(TinyYolo(classes))
