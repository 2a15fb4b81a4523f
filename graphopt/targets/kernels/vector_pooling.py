"""Poolings of int8 for Helium, and sums for the DSP extension: pixel by pixel, all channels by a routine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Node
from graphopt.ops import MaxPool, Requantize, SumPool, Window
from graphopt.rewrite import Decline
from graphopt.targets.instructions import dsp_pooling
from graphopt.targets.instructions.mve import TOP
from graphopt.targets.instructions.mve_pooling import LARGEST_OF_WINDOW, MOST_COLUMNS, SUM_WINDOW_SCALED, UP
from graphopt.targets.kernels.base import Frame, Kernel, Task, View, kernel_rule
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, plane_of
from graphopt.targets.kernels.order import result_of, tiled_reads
from graphopt.targets.kernels.quantized import zero_point_of
from graphopt.targets.kernels.scaling import one_shifted_up
from graphopt.targets.requantize import RequantizeUpper, constants_of
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Expr, loop


@kernel_rule(SumPool, isa="mve", strided=True)
def sum_pool_by_vectors(task: Task[SumPool]) -> Kernel:
    """Sums that are requantized to int8."""
    return sum_pool(task, SUM_WINDOW_SCALED.lanes)


@kernel_rule(SumPool, isa="dsp")
def sum_pool_by_halves(task: Task[SumPool]) -> Kernel:
    """By four channels at once, and those that are left one by one."""
    channels = task.inputs[0].type.static_shape[1]
    return sum_pool(task, 1 if channels % dsp_pooling.LANES else dsp_pooling.LANES)


def sum_pool(task: Task[SumPool], lanes: int) -> Kernel:
    """By a routine that has so many channels in its last turn, or as many as are left of them."""
    region = task.region
    if len(region.epilogue) != 1 or region.tail is not None or region.epilogue[0].inputs[0] is not task.result:
        raise Decline("its sums are not requantized, or something follows")
    multiplier, addend, shift = scaling_of_sums(region.epilogue[0], largest_sum(task.op))
    return pooling(task, task.op.name, {"numbers": np.array([multiplier, addend, TOP - shift], np.int32)}, lanes)


def largest_sum(op: SumPool) -> int:
    """The largest magnitude of a sum, shifted up."""
    most = int(np.prod(op.kernel)) * max(127 - op.zero_point, op.zero_point + 128) << UP
    if most >= 1 << 31:
        raise Decline("its windows are too large")
    return most


def scaling_of_sums(node: Node, most: int) -> tuple[int, int, int]:
    """Multiplier, addend and shift of sums of this magnitude that are shifted up, by one requantisation for all."""
    op, parts = node.op, [part.constant for part in node.inputs[1:]]
    numbers = [int(part.item()) for part in parts if part is not None and part.size == 1]
    if len(numbers) != len(parts) or not isinstance(op, Requantize | RequantizeUpper):
        raise Decline("its channels are scaled each for itself, or at run time")
    if (op.low, op.high, op.to) != (-128, 127, "int8"):
        raise Decline("its results are not all of int8")
    if isinstance(op, RequantizeUpper):
        multiplier, addend, shift = numbers
        return one_shifted_up(multiplier, addend, shift, -most >> UP, most >> UP, UP)
    multiplier, shift = numbers
    return constants_of(op.zero_point, multiplier, shift + UP, -most, most)


@kernel_rule(MaxPool, isa="mve", strided=True)
def max_pool_by_vectors(task: Task[MaxPool]) -> Kernel:
    """Maxima alone."""
    if task.region.epilogue or task.region.tail is not None:
        raise Decline("something follows it")
    return pooling(task, task.op.name, {}, LARGEST_OF_WINDOW.lanes)


def pooling(task: Task[SumPool | MaxPool], name: str, packed: Mapping[str, Array], lanes: int) -> Kernel:
    """The kernel of a pooling over one or two axes; with ``numbers``, of sums. A turn has so many channels."""
    x = task.inputs[0]
    if x.type.rank > 4 or x.type.dtype != "int8":
        raise Decline("it takes int8, and one or two axes")
    plane = plane_of(x.type.static_shape[2:], task.result.type.static_shape[2:], task.op.window())
    view: View = as_plane
    given, result = as_plane(task.strided(x)), as_plane(result_of(task))
    if 1 not in (given.strides[1], given.shape[1]) or 1 not in (result.strides[1], result.shape[1]):
        raise Decline("channels do not stand side by side")
    pixels = plane.size[0] * plane.size[1]
    whole = plane.window.kernel == plane.size and plane.out == (1, 1) and not any(plane.window.pads)
    if whole and pixels <= MOST_COLUMNS and as_row(task.strided(x)) is not None:
        plane, view = Plane((1, pixels), (1, 1), Window.of((1, pixels), (), ())), as_row
    if plane.window.kernel[1] > MOST_COLUMNS:
        raise Decline(f"it has more than {MOST_COLUMNS} columns")
    last = (given.shape[1] - 1) % lanes + 1
    reads = tiled_reads(task, plane, view, 1, last) if x in task.covered else {}
    return Kernel(name, lambda f: emit(f, plane, view), packed, (), RegisterTile(1, lanes), reads)


def emit(frame: Frame, plane: Plane, view: View) -> None:
    x, y = view(frame.tensors[frame.task.inputs[0]]), view(frame.out)
    assert x is not None and y is not None
    pitch, step = (d * s for d, s in zip(plane.window.dilations, x.strides[2:], strict=True))
    with loop("n", 0, x.shape[0]) as n, loop("y", 0, plane.out[0]) as line:
        rows = plane.taps(0, line)

        def pool(column: Expr, _: int, columns: tuple[Expr, Expr]) -> None:
            source = x.at(n, 0, plane.source(0, line, rows[0]), plane.source(1, column, columns[0]))
            result, counts = y.at(n, 0, line, column), counted(rows, columns)
            if "numbers" in frame.packed:
                start = -zero_point_of(frame.task.op) * counts[0] * counts[1]
                numbers = frame.packed["numbers"].at(0)
                SUM_WINDOW_SCALED.run(source, result, numbers, pitch, step, *counts, start, x.shape[1])
            else:
                LARGEST_OF_WINDOW.run(source, result, pitch, step, *counts, x.shape[1])

        plane.for_each_tile(1, pool)


def counted(rows: tuple[Expr, Expr], columns: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
    """The rows and columns of taps from low ones to high ones: at least a row, which is empty if there are none."""
    height, width = (high - low for low, high in (rows, columns))
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    return tirx.max(height, 1), tirx.if_then_else(tirx.all(height > 0, width > 0), width, 0)
