"""Operators that move elements, for LLVM, as copies from strides to other strides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from graphopt.ir import Op
from graphopt.ops import Concat, Expand, Gather, Pad, Resize, Slice, Tile, Transpose
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.strided_copy import StridedCopy, fill, order_of, part, split
from graphopt.targets.rearrange import Rearrange
from graphopt.targets.tir import Tensor, loop
from graphopt.targets.views import permuted, reshaped, view

MOST_RUNS = 8
"""Of known positions, each of which is a copy of its own."""

Same = Callable[[Tensor], Tensor | None]
"""A view of an operand, with the shape of the result."""


def alone(task: Task[Op]) -> None:
    """Decline if something is computed behind a move."""
    if task.region.epilogue or task.region.tail is not None:
        raise Decline("something is computed behind it")


def copy(task: Task[Op], of: Same, to: Callable[[Tensor], Tensor] = lambda out: out) -> Kernel:
    """The kernel that copies a view of the operand to a view of the result."""
    alone(task)
    (xv,) = task.inputs
    if of(task.strided(xv)) is None:
        raise Decline("its operand has no such strides")

    def emit(frame: Frame) -> None:
        x = of(frame.tensors[xv])
        assert x is not None
        StridedCopy(task.target, to(frame.out), x).emit()

    return Kernel(task.op.name, emit, {})


@kernel_rule(Transpose, Slice, isa="llvm", strided=True)
def copy_of_view(task: Task[Transpose | Slice]) -> Kernel:
    """A transpose or a slice."""
    return copy(task, lambda x: view(task.op, x))


@kernel_rule(Expand, isa="llvm", strided=True)
def copy_of_expanded(task: Task[Expand]) -> Kernel:
    """One element in many places."""
    return copy(task, lambda x: x.broadcast(task.result.type.static_shape))


@kernel_rule(Rearrange, isa="llvm", strided=True)
def copy_of_rearranged(task: Task[Rearrange]) -> Kernel:
    """Axes that are split, permuted and merged: of both sides, views with all axes that there are in between."""
    op = task.op

    def of(x: Tensor) -> Tensor | None:
        fine = reshaped(x, op.split)
        return fine and permuted(fine, op.perm)

    def to(out: Tensor) -> Tensor:
        fine = reshaped(out, op.permuted)
        assert fine is not None
        return fine

    return copy(task, of, to)


def repeated(x: Tensor, axis: int, count: int, inside: bool) -> Tensor:
    """A new axis along which all is repeated, inside or outside of another one."""
    at = axis + inside
    shape, strides = (*x.shape[:at], count, *x.shape[at:]), (*x.strides[:at], 0, *x.strides[at:])
    return replace(x, shape=shape, strides=strides)


@kernel_rule(Tile, isa="llvm", strided=True)
def copy_of_tiles(task: Task[Tile]) -> Kernel:
    """The operand again and again."""
    counts, shape = task.op.repeats, task.inputs[0].type.static_shape

    def of(x: Tensor) -> Tensor:
        for axis in reversed(range(len(counts))):
            x = repeated(x, axis, counts[axis], inside=False)
        return x

    def to(out: Tensor) -> Tensor:
        for axis in reversed(range(len(counts))):
            out = split(out, axis, shape[axis])
        return out

    return copy(task, of, to)


@kernel_rule(Resize, isa="llvm", strided=True)
def copy_of_resized(task: Task[Resize]) -> Kernel:
    """Nearest resize by whole factors: each element as many times."""
    (xv,), op = task.inputs, task.op
    sizes = xv.type.static_shape[2:]
    factors = [want // have for want, have in zip(op.sizes, sizes, strict=True)]
    maps = [op.source(axis, have) for axis, have in enumerate(sizes)]
    if 0 in factors or any(m != [i // f for i in range(len(m))] for m, f in zip(maps, factors, strict=True)):
        raise Decline("it does not repeat all elements equally often")

    def of(x: Tensor) -> Tensor:
        for axis in reversed(range(len(factors))):
            x = repeated(x, axis + 2, factors[axis], inside=True)
        return x

    def to(out: Tensor) -> Tensor:
        for axis in reversed(range(len(factors))):
            out = split(out, axis + 2, factors[axis])
        return out

    return copy(task, of, to)


@kernel_rule(Concat, isa="llvm", strided=True)
def copies_of_joined(task: Task[Concat]) -> Kernel:
    """One copy for each operand."""
    alone(task)
    op, values = task.op, task.inputs

    def emit(frame: Frame) -> None:
        start = 0
        for value in values:
            size = value.type.static_shape[op.axis]
            StridedCopy(task.target, part(frame.out, op.axis, start, size), frame.tensors[value]).emit()
            start += size

    return Kernel("concat", emit, {})


@kernel_rule(Pad, isa="llvm", strided=True)
def copy_within_fill(task: Task[Pad]) -> Kernel:
    """What is around the operand is written in its turn, so that nothing is asked of a position."""
    alone(task)
    (xv,), op = task.inputs, task.op
    if min(op.pads, default=0) < 0:
        raise Decline("it cuts off elements")
    rank = xv.type.rank

    def emit(frame: Frame) -> None:
        x, out = frame.tensors[xv], frame.out

        def inside(out: Tensor, x: Tensor, axes: Sequence[int]) -> None:
            padded = next((i for i, axis in enumerate(axes) if out.shape[axis] != x.shape[axis]), None)
            if padded is None:
                StridedCopy(task.target, out, x).emit()
                return
            axis, deeper = axes[padded], axes[padded + 1 :]
            low, high, size = op.pads[axis], op.pads[axis + rank], x.shape[axis]
            with ExitStack() as loops:
                for before in axes[:padded]:
                    i = loops.enter_context(loop(f"p{before}", 0, out.shape[before]))
                    out, x = part(out, before, i, 1), part(x, before, i, 1)
                for start, count in ((0, low), (low + size, high)):
                    if count:
                        fill(part(out, axis, start, count), op.value, task.target)
                inner = part(out, axis, low, size)
                if all(inner.shape[a] == x.shape[a] for a in deeper):
                    StridedCopy(task.target, inner, x).emit()
                    return
                i = loops.enter_context(loop(f"p{axis}", 0, size))
                inside(part(inner, axis, i, 1), part(x, axis, i, 1), deeper)

        inside(out, x, order_of(out))

    return Kernel("pad", emit, {})


def runs_of(places: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Positions as runs (place of the first, how many, step), each as long as it goes on by its step."""
    start = 0
    while start < len(places):
        stop = min(start + 2, len(places))
        step = places[stop - 1] - places[start] if stop - start > 1 else 0
        while stop < len(places) and places[stop] - places[stop - 1] == step:
            stop += 1
        if stop - start == 2 and stop < len(places):
            stop, step = start + 1, 0  # the second of two may begin a longer one
        yield start, stop - start, step
        start = stop


@kernel_rule(Gather, isa="llvm", strided=True)
def copies_of_runs(task: Task[Gather]) -> Kernel:
    """Known positions that run on, forwards or backwards: a copy for each run."""
    alone(task)
    xv, iv = task.inputs
    axis, indices = task.op.axis, iv.constant
    if indices is None or indices.ndim != 1:
        raise Decline("its positions are no list that is known")
    size = xv.type.static_shape[axis]
    places = [int(i) for i in np.clip(np.where(indices < 0, indices + size, indices), 0, size - 1)]
    runs = list(runs_of(places))
    if len(runs) > MOST_RUNS:
        raise Decline(f"its positions are {len(runs)} runs")

    def emit(frame: Frame) -> None:
        for start, count, step in runs:
            source = part(frame.tensors[xv], axis, places[start], count, step)
            StridedCopy(task.target, part(frame.out, axis, start, count), source).emit()

    return Kernel("gather", emit, {}, replaced=(iv,))
