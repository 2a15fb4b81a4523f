"""Transformers and what stands in their place."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from zoo.blocks import Sum


class VisionTransformer(nn.Module):
    """Patches, a class token, encoder layers; input [n, 3, 32, 32]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 17, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.encoder(x)[:, 0])


class Bert(nn.Module):
    """Tokens and a mask [n, 16] to a sentence vector of length one."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.words, self.places = nn.Embedding(100, width), nn.Embedding(16, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList([BertLayer(width, heads) for _ in range(2)])

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.words(tokens) + self.places(torch.arange(tokens.shape[1])))
        seen = mask.float()
        hidden = (1.0 - seen[:, None, None, :]) * -1e9
        for layer in self.layers:
            x = layer(x, hidden)
        mean = (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1e-9)
        return functional.normalize(mean, dim=1)


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = (f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / (c // self.heads) ** 0.5 + hidden
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c)
        x = self.norms[0](x + self.out(y))
        return self.norms[1](x + self.mlp(x))


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight, 1e-6)


class Decoder(nn.Module):
    """A language model with causal attention, rotary positions, fewer heads of keys, gated layers; tokens [n, 12]."""

    def __init__(self, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(64, width)
        self.layers = nn.ModuleList([DecoderLayer(width) for _ in range(layers)])
        self.norm = RmsNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.words.weight.t()


class DecoderLayer(nn.Module):
    heads, groups = 4, 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth = width // self.heads
        self.query = nn.Linear(width, width, bias=False)
        self.pair = nn.Linear(width, 2 * self.groups * self.depth, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 64, bias=False), nn.Linear(width, 64, bias=False)
        self.down = nn.Linear(64, width, bias=False)
        self.first, self.second = RmsNorm(width), RmsNorm(width)

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = self.depth // 2
        angles = torch.arange(x.shape[2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
        left, right = x[..., :half], x[..., half:]
        return torch.cat([left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()], -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        y = self.first(x)
        query = self.query(y).view(n, t, self.heads, self.depth).transpose(1, 2)
        key, value = self.pair(y).view(n, t, 2, self.groups, self.depth).permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(
            self.rotate(query), self.rotate(key), value, is_causal=True, enable_gqa=True
        )
        x = x + self.out(seen.transpose(1, 2).reshape(n, t, c))
        y = self.second(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Mixer(nn.Module):
    """An MLP over patches and one over channels in turn; input [n, 3, 32, 32]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.blocks = nn.Sequential(*(MixerBlock(16, width) for _ in range(2)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class MixerBlock(nn.Module):
    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.tokens = nn.Sequential(nn.Linear(patches, 32), nn.GELU(), nn.Linear(32, patches))
        self.channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))


class Conformer(nn.Module):
    """Attention and convolution in turn; features [n, 20, 16]."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.halves = nn.ModuleList([feed_forward(width), feed_forward(width)])
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        depthwise = nn.Conv1d(width, width, 5, padding=2, groups=width)
        layers = [nn.Conv1d(width, 2 * width, 1), nn.GLU(1), depthwise, nn.BatchNorm1d(width), nn.SiLU()]
        self.conv = nn.Sequential(*layers, nn.Conv1d(width, width, 1))
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.halves[0](x) * 0.5
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.conv(self.before(x).transpose(1, 2)).transpose(1, 2)
        return self.after(x + self.halves[1](x) * 0.5)


def feed_forward(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))


class PointNet(nn.Module):
    """Points [n, 3, 40], turned by a small network of their own, to classes."""

    def __init__(self) -> None:
        super().__init__()
        pooled = [nn.AdaptiveMaxPool1d(1), nn.Flatten()]
        self.turn = nn.Sequential(shared(3, 16), shared(16, 32), *pooled, nn.Linear(32, 9))
        self.body = nn.Sequential(shared(3, 32), shared(32, 64))
        self.head = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.LeakyReLU(), nn.Linear(32, 8))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        turn = self.turn(points).view(-1, 3, 3) + torch.eye(3)
        return self.head(self.body(torch.bmm(turn, points)).max(2).values)


def shared(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(inputs, outputs, 1), nn.BatchNorm1d(outputs), nn.ReLU())


def perceptron() -> nn.Module:
    """Input [n, 64]."""
    layer = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.SELU())
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), Sum(nn.Identity(), layer), nn.Linear(32, 10), nn.Softmax(-1))
