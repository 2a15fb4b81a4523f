"""Comparisons, logic, bits, selection and casts."""

from __future__ import annotations

import torch
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import plain, torch_rule

plain(
    {
        ops.And: torch.logical_and,
        ops.BitwiseAnd: torch.bitwise_and,
        ops.BitwiseNot: torch.bitwise_not,
        ops.BitwiseOr: torch.bitwise_or,
        ops.BitwiseXor: torch.bitwise_xor,
        ops.Equal: torch.eq,
        ops.Greater: torch.gt,
        ops.GreaterOrEqual: torch.ge,
        ops.IsNan: torch.isnan,
        ops.Less: torch.lt,
        ops.LessOrEqual: torch.le,
        ops.Not: torch.logical_not,
        ops.Or: torch.logical_or,
        ops.ShiftLeft: torch.bitwise_left_shift,
        ops.ShiftRight: torch.bitwise_right_shift,
        ops.Where: torch.where,
        ops.Xor: torch.logical_xor,
    }
)


@torch_rule(ops.Mod)
def mod(op: ops.Mod, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if op.fmod else torch.remainder(a, b)


@torch_rule(ops.IsInf)
def is_inf(op: ops.IsInf, x: Tensor) -> Tensor:
    return (x.isneginf() & op.negative) | (x.isposinf() & op.positive)


@torch_rule(ops.Cast)
def cast(op: ops.Cast, x: Tensor) -> Tensor:
    dtype: torch.dtype = getattr(torch, op.to)
    return x.to(dtype)
