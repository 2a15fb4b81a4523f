"""Sixteen small nets, each with one structure that pruning gets wrong where it does not follow every index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(inputs: int, outputs: int, kernel: int = 3, **settings: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **settings)


class Structure(nn.Module):
    """A first layer, the structure, and a last layer, whose channels are the outputs; an activation between."""

    def __init__(self, first: nn.Module, last: nn.Module, **layers: nn.Module) -> None:
        super().__init__()
        self.first, self.last = first, last
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.structure(torch.relu(self.first(x))))

    def structure(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class SelfConcat(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], 1)


class BranchConcat(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), torch.relu(self.right(x)), x], 1)


class C2fChunk(Structure):
    def structure(self, x: Tensor) -> Tensor:
        kept, y = x.chunk(2, 1)
        return torch.cat([kept, y, y + self.inner(y)], 1)


class C2fSplit(Structure):
    def structure(self, x: Tensor) -> Tensor:
        kept, y = x.split([8, 24], 1)
        return torch.cat([kept, y, y + self.inner(y)], 1)


class Shuffle(Structure):
    def structure(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


class Inner(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x))


class Attention(Structure):
    heads = 4

    def structure(self, x: Tensor) -> Tensor:
        n, t, e = x.shape
        q, k, v = self.inner(x).reshape(n, t, 3, self.heads, e // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / (e // self.heads) ** 0.5).softmax(-1)
        return x + self.out((weights @ v).transpose(1, 2).reshape(n, t, e))


class Gate(Structure):
    def structure(self, x: Tensor) -> Tensor:
        scale = torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.excite(scale))


class Flatten(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 2).flatten(1)


class Reused(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(torch.relu(self.inner(x))))


class Recurrent(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


class Shuffled(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.inner(x), 2)


class Scaled(Structure):
    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        super().__init__(first, last)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 32).reshape(1, 32, 1, 1))

    def structure(self, x: Tensor) -> Tensor:
        return x * self.scale


class Slices(Structure):
    def structure(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 24:], torch.relu(x[:, 4:16]), x[:, ::2]], 1)


@dataclass(frozen=True)
class Case:
    """A net, and the shape of its input."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (2, 3, 8, 8)

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build().eval()

    @property
    def example(self) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1))


SEQUENCE = (2, 6, 10)

CASES = (
    Case("self-concat", lambda: SelfConcat(conv(3, 32), conv(64, 5))),
    Case("branch-concat", lambda: BranchConcat(conv(3, 32), conv(72, 5), left=conv(32, 16), right=conv(32, 24))),
    Case("c2f-chunk", lambda: C2fChunk(conv(3, 32), conv(48, 5), inner=conv(16, 16))),
    Case("c2f-split", lambda: C2fSplit(conv(3, 32), conv(56, 5), inner=conv(24, 24))),
    Case("channel-shuffle", lambda: Shuffle(conv(3, 32), conv(32, 5))),
    Case("grouped-conv", lambda: Inner(conv(3, 32), conv(32, 5), inner=conv(32, 32, groups=4))),
    Case("depthwise-x2", lambda: Inner(conv(3, 32), conv(64, 5), inner=conv(32, 64, groups=32))),
    Case("one-output", lambda: Inner(conv(3, 32), conv(16, 1, 1), inner=nn.ConvTranspose2d(32, 16, 3, 2, 1, 1))),
    Case(
        "fused-qkv",
        lambda: Attention(nn.Linear(10, 32), nn.Linear(32, 5), inner=nn.Linear(32, 96), out=nn.Linear(32, 32)),
        SEQUENCE,
    ),
    Case("se-gate", lambda: Gate(conv(3, 32), conv(32, 5), squeeze=conv(32, 8, 1), excite=conv(8, 32, 1))),
    Case("flatten", lambda: Flatten(conv(3, 32), nn.Linear(32 * 16, 5))),
    Case("reused-conv", lambda: Reused(conv(3, 32), conv(32, 5), inner=conv(32, 32))),
    Case(
        "lstm",
        lambda: Recurrent(nn.Linear(10, 32), nn.Linear(24, 5), inner=nn.LSTM(32, 24, batch_first=True)),
        SEQUENCE,
    ),
    Case("pixel-shuffle", lambda: Shuffled(conv(3, 32), conv(16, 5), inner=conv(32, 64))),
    Case("bare-parameter", lambda: Scaled(conv(3, 32), conv(32, 5))),
    Case("constant-slices", lambda: Slices(conv(3, 32), conv(36, 5))),
)
