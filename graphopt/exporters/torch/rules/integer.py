"""The integer operators of quantized graphs, bit by bit. Their results are integers, which pass no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import TORCH_RULES, Result, torch_rule
from graphopt.exporters.torch.rules.pooling import windows
from graphopt.exporters.torch.rules.products import column
from graphopt.ops.integer import ACCUMULATORS, IntegerProduct


def accumulator(x: Tensor) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, ACCUMULATORS[str(x.dtype).removeprefix("torch.")])
    return dtype


@torch_rule(ops.ConvInteger, ops.ConvTransposeInteger, ops.LinearInteger)
def product(op: IntegerProduct, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """In floats that hold all sums of products of these numbers exactly, and the bias behind them."""
    real, dtype = op.real(), exact_floats(op, x, weight)
    operands = x.to(dtype) - op.zero_point, weight.to(dtype), torch.zeros_like(bias, dtype=dtype)
    with torch.autocast(x.device.type, enabled=False):
        y: Result = TORCH_RULES[type(real)](real, *operands)
    assert isinstance(y, Tensor)
    return y.to(bias.dtype) + (bias if isinstance(op, ops.LinearInteger) else column(bias, x))


def exact_floats(op: IntegerProduct, x: Tensor, weight: Tensor) -> torch.dtype:
    """Floats in which sums of products of quantized numbers are exact, in whatever order they are added.

    Those of float32 are so on a CPU by oneDNN, even where it is allowed to multiply in bfloat16, which holds 8 bits;
    other libraries may transform the operands of convolutions first, and then round.
    """
    onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # type: ignore[no-untyped-call]
    by_onednn = onednn and x.device.type == "cpu"
    if not by_onednn or x.dtype == torch.int16 or isinstance(op, ops.ConvTransposeInteger) or not weight.numel():
        return torch.float64
    largest = weight.to(torch.int64).abs().flatten(1).sum(1).amax() << 8
    return torch.float32 if largest < 1 << 24 else torch.float64


@torch_rule(ops.MatMulInteger)
def matmul(op: ops.MatMulInteger, a: Tensor, b: Tensor) -> Tensor:
    y = torch.matmul(a.double() - op.a_zero_point, b.double() - op.b_zero_point)
    return y.to(torch.int64).to(accumulator(a))


@torch_rule(ops.SumPool)
def sum_pool(op: ops.SumPool, x: Tensor) -> Tensor:
    window, wide = op.window(), accumulator(x)
    return windows(window, x.to(wide) - op.zero_point, 0).sum(tuple(range(-window.rank, 0)), dtype=wide)


@torch_rule(ops.Requantize)
def requantize(op: ops.Requantize, acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    wide = [t.to(torch.int64) for t in (acc, multiplier, shift)]
    scaled = scaled_wide(*wide) if acc.dtype == torch.int64 else scaled_narrow(*wide)
    return scaled.add_(op.zero_point).clamp_(op.low, op.high).to(getattr(torch, op.to))


def scaled_narrow(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """In place behind the product: new memory would take most of the time."""
    return (acc * multiplier).add_(half(shift)).bitwise_right_shift_(shift)


def scaled_wide(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Of an accumulator whose product may exceed int64, in two parts; shift > 16."""
    lower = ((acc & 0xFFFF) * multiplier + half(shift)) >> 16
    return ((acc >> 16) * multiplier + lower) >> (shift - 16)


def half(shift: Tensor) -> Tensor:
    return torch.ones_like(shift) << (shift - 1)


@torch_rule(ops.Lookup)
def lookup(op: ops.Lookup, x: Tensor, table: Tensor) -> Tensor:
    """Differentiable in the table."""
    return table[x.to(torch.int64) - torch.iinfo(x.dtype).min]


@torch_rule(ops.WeightedSum)
def weighted_sum(op: ops.WeightedSum, *inputs: Tensor) -> Tensor:
    wide = torch.int64 if torch.int16 in {x.dtype for x in inputs} else torch.int32
    terms = [x.to(torch.int64) * factor for x, factor in zip(inputs, op.factors, strict=True)]
    return (sum(terms[1:], start=terms[0]) + op.offset).to(wide)


@torch_rule(ops.MulInteger)
def mul_integer(op: ops.MulInteger, a: Tensor, b: Tensor) -> Tensor:
    wide = torch.int64 if torch.int16 in (a.dtype, b.dtype) else torch.int32
    return ((a.to(torch.int64) - op.a_zero_point) * (b.to(torch.int64) - op.b_zero_point)).to(wide)


@torch_rule(ops.IntegerSqrt)
def integer_sqrt(op: ops.IntegerSqrt, x: Tensor) -> Tensor:
    return x.double().sqrt().to(torch.int64)
