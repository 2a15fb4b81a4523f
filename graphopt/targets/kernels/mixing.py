"""Sums of a few elements along an axis, as in bilinear resizing: in vectors along another axis."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
from tvm import tirx

from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule, physical_loops
from graphopt.targets.kernels.nest import Index, emit_nest
from graphopt.targets.kernels.quantized import widened
from graphopt.targets.kernels.strided_copy import LEAST_ROWS, lanes_of, turning_loops
from graphopt.targets.kernels.turned import most_rows, turned
from graphopt.targets.mixing import MixAxis
from graphopt.targets.schedule import channel_segments
from graphopt.targets.tir import Expr, Point, loop


def packed(task: Task[MixAxis]) -> dict[str, np.ndarray]:
    """The places and weights of the sums, each row after the other."""
    weight = task.inputs[1].constant
    assert weight is not None
    return {"places": np.array(task.op.places, np.int32), "weights": weight.astype(task.op.to)}


def summed(frame: Frame, at: Point) -> Expr:
    """The sums at a point of the result, whose vectors do not lie along the axis."""
    op, x = frame.task.op, frame.tensors[frame.task.inputs[0]]
    assert isinstance(op, MixAxis)
    total, i = None, at.index[op.axis]
    for k in range(len(op.places[0])):
        place, weight = (frame.packed[name].load(Point((i, k))) for name in ("places", "weights"))
        source = tuple(place if axis == op.axis else p for axis, p in enumerate(at.index))
        element = widened(x.load(Point(source, at.lane_axis, at.lanes)), op.zero_point, dtype=op.to)
        term = element * (weight if at.lanes == 1 else tirx.Broadcast(weight, at.lanes))
        total = term if total is None else total + term
    return total


@kernel_rule(MixAxis, strided=True)
def mix_nest(task: Task[MixAxis]) -> Kernel:
    """One element at a time."""

    def emit(frame: Frame) -> None:
        def value(index: Index) -> Expr:
            return summed(frame, Point(index))

        emit_nest(frame, value)

    return Kernel("mix", emit, packed(task), replaced=(task.inputs[1],))


@kernel_rule(MixAxis, isa="llvm", strided=True)
def mix_vectors(task: Task[MixAxis]) -> Kernel:
    """Vectors along an axis that stands side by side in the operand and in the result, or of tiles that are turned."""
    if task.region.tail is not None:
        raise Decline("a pooling ends it")
    x, out, axis = task.strided(task.inputs[0]), task.place, task.op.axis
    inner = [a for a in physical_loops(out.shape, out.strides) if out.shape[a] > 1][-1:]
    if not inner or out.strides[inner[0]] != 1 or task.result.type.dtype == "bool":
        raise Decline("the elements of its result do not stand side by side")
    beside = next((a for a, stride in enumerate(x.strides) if stride == 1 and x.shape[a] > 1 and a != axis), None)
    if beside is None:
        raise Decline("the elements of its operand stand side by side along the axis that is mixed")
    if beside == inner[0]:
        emit: Callable[[Frame], None] = partial(emit_rows, inner=beside)
    elif min(out.shape[beside], out.shape[inner[0]]) >= LEAST_ROWS:
        emit = partial(emit_tiles, inner=inner[0], across=beside)
    else:
        raise Decline("its operand and result are too narrow for tiles")
    return Kernel("mix", emit, packed(task), replaced=(task.inputs[1],))


def emit_rows(frame: Frame, inner: int) -> None:
    """Vectors of the result side by side."""
    out, epilogue = frame.out, frame.epilogue()
    index: list[Expr] = [0] * len(out.shape)
    with ExitStack() as loops:
        for axis in physical_loops(out.shape, out.strides):
            if axis != inner:
                index[axis] = loops.enter_context(loop(f"i{axis}", 0, out.shape[axis]))
        for segment in channel_segments(out.shape[inner], lanes_of(frame.task.target, "float32"), 1):
            with loop("block", 0, segment.blocks) as block:
                index[inner] = segment.start + block * segment.lanes
                at = Point(tuple(index), inner, segment.lanes)
                out.store(at, epilogue(summed(frame, at), at))


def emit_tiles(frame: Frame, inner: int, across: int) -> None:
    """Vectors along the axis that stands side by side in the operand, which are turned."""
    out, epilogue = frame.out, frame.epilogue()
    limits = out.shape[across], out.shape[inner], most_rows(frame.task.target, out.dtype)
    rows = 1 << min(limits).bit_length() - 1
    with turning_loops(out, across, inner, rows) as at:
        points = [at(inner, i, across) for i in range(rows)]
        for i, column in enumerate(turned([epilogue(summed(frame, p), p) for p in points], out.dtype)):
            out.store(at(across, i, inner), column)
