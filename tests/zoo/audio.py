"""Keyword spotting, voice activity, speech and other signals: features or samples."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from zoo.blocks import Apply, Sum, conv, conv1d, head


def ds_cnn() -> nn.Module:
    stem = [nn.Conv2d(1, 32, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    blocks = [layer for _ in range(4) for layer in (conv(32, 32, 3, groups=32), conv(32, 32, 1))]
    return nn.Sequential(*stem, *blocks, *head(32, 12))


def tc_resnet() -> nn.Module:
    def block(inputs: int, outputs: int) -> nn.Module:
        body = nn.Sequential(conv1d(inputs, outputs, 9, 2), conv1d(outputs, outputs, 9, act=nn.Identity))
        return nn.Sequential(Sum(body, conv1d(inputs, outputs, 1, 2)), nn.ReLU())

    blocks = [block(16, 24), block(24, 32), block(32, 48)]
    return nn.Sequential(conv1d(40, 16, 3), *blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(48, 12))


class VoiceActivity(nn.Module):
    """Convolutions over samples, then a GRU; the probability of speech at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv1d(1, 16, 9, 4), conv1d(16, 24, 5, 4), conv1d(24, 32, 5, 2))
        self.gru = nn.GRU(32, 32, batch_first=True)
        self.last = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(self.encoder(x).transpose(1, 2))
        return torch.sigmoid(self.last(y)).squeeze(-1)


class LstmClassifier(nn.Module):
    """The last state of two layers; features [n, 20, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 32, 2, batch_first=True, dropout=0.2)
        self.last = nn.Linear(32, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.lstm(x)
        return self.last(h[-1])


class GruTagger(nn.Module):
    """A label for every token, read in both directions; tokens [n, 12]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 24)
        self.gru = nn.GRU(24, 20, 2, batch_first=True, bidirectional=True)
        self.last = nn.Linear(40, 9)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.last(self.gru(self.embedding(tokens))[0]).log_softmax(-1)


class Speech(nn.Module):
    """Convolutions over time and frequency, then a bidirectional LSTM (after Deep Speech 2); features [n, 40, 49]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, 8, 3, 2, act=nn.Hardtanh), conv(8, 8, act=nn.Hardtanh))
        self.lstm = nn.LSTM(160, 32, bidirectional=True)
        self.norm, self.last = nn.LayerNorm(64), nn.Linear(64, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x.unsqueeze(1)).flatten(1, 2)
        y, _ = self.lstm(y.permute(2, 0, 1))
        return self.last(self.norm(y)).softmax(-1).transpose(0, 1)


class Causal(nn.Module):
    """A dilated convolution that sees no later samples."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.pad = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.pad(x, (self.pad, 0)))


def temporal_conv() -> nn.Module:
    def block(inputs: int, outputs: int, dilation: int) -> nn.Module:
        body = [Causal(inputs, outputs, 3, dilation), nn.ReLU(), Causal(outputs, outputs, 3, dilation), nn.ReLU()]
        return nn.Sequential(Sum(nn.Sequential(*body), nn.Conv1d(inputs, outputs, 1)), nn.ReLU())

    blocks = [block(4, 16, 1), block(16, 16, 2), block(16, 24, 4)]
    return nn.Sequential(*blocks, Apply(lambda x: x[:, :, -1]), nn.Linear(24, 5))


class WaveNet(nn.Module):
    """Gated dilated convolutions, the sum of their skips; samples [n, 1, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Causal(1, 16, 2, 1)
        self.filters = nn.ModuleList([Causal(16, 16, 2, 2**i) for i in range(4)])
        self.gates = nn.ModuleList([Causal(16, 16, 2, 2**i) for i in range(4)])
        self.residuals = nn.ModuleList([nn.Conv1d(16, 16, 1) for _ in range(4)])
        self.skips = nn.ModuleList([nn.Conv1d(16, 24, 1) for _ in range(4)])
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(24, 24, 1), nn.ReLU(), nn.Conv1d(24, 32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        total = torch.zeros(())
        for keep, gate, residual, skip in zip(self.filters, self.gates, self.residuals, self.skips, strict=True):
            y = torch.tanh(keep(x)) * torch.sigmoid(gate(x))
            total = total + skip(y)
            x = x + residual(y)
        return self.last(total)
