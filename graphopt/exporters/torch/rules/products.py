"""Matrix products and convolutions. Those of integers are exact, modulo 2^bits as in the evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule
from graphopt.ops import Window

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

LIMB = 16
"""Bits: sums of up to 2^21 products of two such numbers are integers that float64 holds."""


def multiplied(product: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """A bilinear function of two tensors; of integers by way of limbs in float64, for which PyTorch has kernels."""
    if a.is_floating_point():
        return product(a, b)
    bits = torch.iinfo(a.dtype).bits
    total: Tensor | None = None
    for i, high in enumerate(limbs(a, bits)):
        for j, low in enumerate(limbs(b, bits)):
            if LIMB * (i + j) < bits:
                part = product(high, low).to(torch.int64) << LIMB * (i + j)
                total = part if total is None else total + part
    assert total is not None
    return total.to(a.dtype)


def limbs(x: Tensor, bits: int) -> Iterator[Tensor]:
    """The numbers p of 16 bits of which x is the sum of p[i] * 2^(16 i): the last has the sign."""
    wide = x.to(torch.int64)
    for shift in range(0, bits, LIMB):
        rest = wide >> shift
        yield (rest if shift + LIMB >= bits else rest & ((1 << LIMB) - 1)).to(torch.float64)


@torch_rule(ops.Linear)
def linear(op: ops.Linear, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias) if x.is_floating_point() else multiplied(F.linear, x, weight) + bias


@torch_rule(ops.MatMul)
def matmul(op: ops.MatMul, a: Tensor, b: Tensor) -> Tensor:
    return multiplied(torch.matmul, a, b)


@torch_rule(ops.Conv)
def conv(op: ops.Conv, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    window = Window.of(tuple(weight.shape[2:]), op.strides, op.pads, op.dilations)
    function = CONVOLUTIONS[window.rank]
    before, after = window.pads[: window.rank], window.pads[window.rank :]
    if before != after:
        x, before = F.pad(x, around(before, after)), (0,) * window.rank

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return function(x, weight, bias, window.strides, before, window.dilations, op.group)

    return product(x, weight, bias) if x.is_floating_point() else multiplied(product, x, weight) + column(bias, x)


@torch_rule(ops.ConvTranspose)
def conv_transpose(op: ops.ConvTranspose, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The whole of it first, then pads cut off and output padding put on, of which PyTorch takes but a little."""
    window = Window.of(tuple(weight.shape[2:]), op.strides, op.pads, op.dilations)
    rank, extra = window.rank, op.output_padding or (0,) * window.rank

    def product(x: Tensor, weight: Tensor) -> Tensor:
        return TRANSPOSED[rank](x, weight, None, window.strides, 0, 0, op.group, window.dilations)

    before = [-window.pads[a] for a in range(rank)]
    after = [extra[a] - window.pads[a + rank] for a in range(rank)]
    return F.pad(multiplied(product, x, weight), around(before, after)) + column(bias, x)


def around(before: tuple[int, ...] | list[int], after: tuple[int, ...] | list[int]) -> list[int]:
    """Pads in the order of ``F.pad``: those of the last axis first."""
    return [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair]


def column(bias: Tensor, x: Tensor) -> Tensor:
    """A bias as it broadcasts to [n, channels, *spatial]."""
    return bias.reshape(-1, *[1] * (x.ndim - 2))
