"""Quantisation with straight-through gradients.

What ``quantize`` gives holds the very integers, but as floats, so that gradients pass (see ``plan``). The rounding is
passed straight through (Bengio et al., 2013), saturation passes nothing; together with ``dequantize`` the gradient
of the scale is that of LSQ (Esser et al., 2020).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule
from graphopt.ops.quantized import Quantization


class RoundStraightThrough(torch.autograd.Function):
    """To the nearest integer, halves to even; the gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class SignStraightThrough(torch.autograd.Function):
    """-1 and 1; the gradient is that of x / scale, if rounding that would give no number beyond these."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return torch.where(x < 0, -1.0, 1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, scale = ctx.saved_tensors
        return gradients[0] / scale * (x.abs() <= 1.5 * scale), None


@torch_rule(ops.Binarize)
def binarize(op: ops.Binarize, x: Tensor, scale: Tensor) -> Tensor:
    """The gradient of x is that of the identity within one and a half scales, and of the scale that of its sign."""
    signs: Tensor = SignStraightThrough.apply(x, scale)  # type: ignore[no-untyped-call]
    return signs * scale


def broadcastable(op: Quantization, x: Tensor, parameter: Tensor) -> Tensor:
    """A scale or zero point as it broadcasts to x."""
    return parameter.reshape(op.column(x.ndim, tuple(parameter.shape)))


def at_least_float32(x: Tensor) -> Tensor:
    """In float32 at least, which holds every integer up to where it saturates."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch_rule(ops.Quantize)
def quantize(op: ops.Quantize, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    limits = torch.iinfo(zero.dtype)
    rounded: Tensor = RoundStraightThrough.apply(x / broadcastable(op, x, scale))  # type: ignore[no-untyped-call]
    steps = at_least_float32(rounded) + broadcastable(op, x, zero).to(torch.float32)
    return steps.clamp(limits.min, limits.max)


@torch_rule(ops.Dequantize)
def dequantize(op: ops.Dequantize, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Of integers the difference is one of int32, as large as it gets."""
    wide = at_least_float32(broadcastable(op, x, scale))
    zero = broadcastable(op, x, zero)
    steps = x - zero.to(x.dtype) if x.is_floating_point() else (x.to(torch.int32) - zero.to(torch.int32)).to(wide.dtype)
    return (steps * wide).to(scale.dtype)
