"""Reductions and running totals, in the dtype of the operand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule

REDUCTIONS: dict[type[ops.Reduction], Callable[..., Tensor]] = {
    ops.ReduceMax: torch.amax,
    ops.ReduceMean: torch.mean,
    ops.ReduceMin: torch.amin,
    ops.ReduceSum: lambda x, axes, keepdims: torch.sum(x, axes, keepdims, dtype=x.dtype),
}


@torch_rule(*REDUCTIONS)
def reduction(op: ops.Reduction, x: Tensor) -> Tensor:
    """Equal extremes share the gradient. Of no axes PyTorch would make all."""
    return REDUCTIONS[type(op)](x, op.axes, op.keepdims) if op.axes else x


@torch_rule(ops.ReduceProd)
def reduce_prod(op: ops.ReduceProd, x: Tensor) -> Tensor:
    for axis in reversed(op.axes):
        x = torch.prod(x, axis, op.keepdims, dtype=x.dtype)
    return x


@torch_rule(ops.ArgMax, ops.ArgMin)
def arg_reduction(op: ops.ArgReduction, x: Tensor) -> Tensor:
    function = torch.argmax if isinstance(op, ops.ArgMax) else torch.argmin
    x = x.to(torch.uint8) if x.dtype == torch.bool else x
    if not op.last:
        return function(x, op.axis, op.keepdims)
    return x.shape[op.axis] - 1 - function(x.flip(op.axis), op.axis, op.keepdims)


@torch_rule(ops.CumSum, ops.CumProd)
def cumulative(op: ops.Cumulative, x: Tensor) -> Tensor:
    function = torch.cumsum if isinstance(op, ops.CumSum) else torch.cumprod
    x = x.flip(op.axis) if op.reverse else x
    if op.exclusive:
        size = x.shape[op.axis]
        first = torch.full_like(x.narrow(op.axis, 0, min(size, 1)), op.neutral)
        x = torch.cat([first, x.narrow(op.axis, 0, max(size - 1, 0))], op.axis)
    y = function(x, op.axis, dtype=x.dtype)
    return y.flip(op.axis) if op.reverse else y
