"""Operators that move elements, as other strides over the same memory."""

from __future__ import annotations

from dataclasses import replace

from graphopt.ir import Op, TensorType
from graphopt.ops import Reshape, Slice, Transpose
from graphopt.targets.tir import Tensor

MOVES = (Reshape, Slice, Transpose)
"""The operators that may be a view."""


def view(op: Op, x: Tensor) -> Tensor | None:
    """What one of ``MOVES`` makes of a tensor, where it is; None if no strides do that."""
    match op:
        case Transpose(perm=perm):
            return permuted(x, perm)
        case Slice(axis=axis, start=start, stop=stop, step=step):
            shape, strides = list(x.shape), list(x.strides)
            shape[axis] = -(-(stop - start) // step)
            strides[axis] *= step
            return replace(x, shape=tuple(shape), strides=tuple(strides), offset=x.offset + start * x.strides[axis])
        case Reshape(shape=shape):
            return reshaped(x, TensorType(x.dtype, shape).static_shape)
        case _:
            return None


def permuted(x: Tensor, perm: tuple[int, ...]) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return replace(x, shape=tuple(x.shape[p] for p in perm), strides=tuple(x.strides[p] for p in perm))


def reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The same elements in row-major order with another shape; None if no strides do that."""
    runs: list[tuple[int, int]] = []
    """Of axes that are dense in each other: their elements, and the stride of the innermost."""
    for size, stride in zip(x.shape, x.strides, strict=True):
        if runs and size > 1 and runs[-1][1] == size * stride:
            runs[-1] = runs[-1][0] * size, stride
        elif size > 1:
            runs.append((size, stride))
    strides, left, step = [0] * len(shape), 1, 0
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            continue
        if left == 1:
            left, step = runs.pop()
        if left % shape[axis]:
            return None
        strides[axis], left, step = step, left // shape[axis], step * shape[axis]
    return replace(x, shape=shape, strides=tuple(strides))
