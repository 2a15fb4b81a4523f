"""Transformers in plain torch for benchmarks, with seeded weights: each function gives a module and example inputs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Self-attention of several heads; without a ``mask`` every position sees every other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.joined = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        n, tokens, width = x.shape
        depth = width // self.heads
        q, k, v = self.joined(x).reshape(n, tokens, 3, self.heads, depth).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) * depth**-0.5
        weights = (scores if mask is None else scores + mask).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, tokens, width))


class SeparateAttention(nn.Module):
    """Self-attention as BERT has it: three linear layers, and a mask that is added to the scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, tokens, width = x.shape

        def split(y: torch.Tensor) -> torch.Tensor:
            return y.reshape(n, tokens, self.heads, width // self.heads).transpose(1, 2)

        q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
        scores = q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5
        weights = (scores + mask).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, tokens, width))


class ViTBlock(nn.Module):
    """Norm, attention, norm, two layers with GELU; each half is added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = Attention(width, heads)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.narrow(functional.gelu(self.wide(self.norms[1](x))))


class ViT(nn.Module):
    """A vision transformer on 224x224 in patches of 16x16: 196 of them and a class token."""

    def __init__(self, width: int, heads: int, blocks: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 197, width) * 0.02)
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(image), -1, -1), patches], dim=1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class BertLayer(nn.Module):
    """Attention, norm, two layers with GELU, norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = SeparateAttention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norms[0](x + self.attention(x, mask))
        return self.norms[1](x + self.narrow(functional.gelu(self.wide(x))))


class MiniLM(nn.Module):
    """A sentence encoder like all-MiniLM-L6, on embedded tokens [n, seq, width] and their mask [n, seq] of 0 and 1."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BertLayer(width, heads) for _ in range(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        added = (1.0 - mask)[:, None, None] * -10000.0
        for layer in self.layers:
            x = layer(x, added)
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def vit() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Four blocks of width 192 with three heads, 197 tokens; an image [1, 3, 224, 224]."""
    torch.manual_seed(0)
    return ViT(192, 3, 4, 1000).eval(), (torch.randn(1, 3, 224, 224),)


def minilm(tokens: int = 64) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Six layers of width 384 with twelve heads; embedded tokens, and a mask that hides the last quarter."""
    torch.manual_seed(0)
    mask = (torch.arange(tokens) < tokens - tokens // 4).float()[None]
    return MiniLM(384, 12, 6).eval(), (torch.randn(1, tokens, 384), mask)
