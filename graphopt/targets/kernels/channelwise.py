"""Windows that do not mix channels: depthwise convolution and pooling, vectorized over channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op
from graphopt.ops import AveragePool, MaxPool, Pool, ReduceMean, SumPool
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.geometry import Plane, as_plane, plane_of
from graphopt.targets.kernels.nest import pool_nest, reduce_nest
from graphopt.targets.kernels.order import windowed_reads
from graphopt.targets.kernels.quantized import folded_zero_point, widened
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.tiled import PackedWeights, Placing, Start, as_it_is, biased, finishing
from graphopt.targets.scalars import limits
from graphopt.targets.schedule import RegisterTile, Segment, balanced, channel_segments
from graphopt.targets.tir import Expr, Locals, Point, Tensor, largest, loop
from graphopt.targets.weights import WeightPlace, storage_of

MAX_PIXELS = 8
UNROLLED_COLUMNS = 7


@dataclass(frozen=True)
class Combine:
    """How the elements of a window are combined; each function takes and returns expressions.

    ``start(channels)`` is the first value, ``step(acc, x, tap, channels)`` adds one element, and
    ``finish(acc, count)`` ends after ``count`` elements, a number or an int32 expression.
    """

    start: Callable[[Point], Expr]
    step: Callable[[Expr, Expr, tuple[Expr, Expr], Point], Expr]
    finish: Callable[[Expr, Expr], Expr]


def depthwise_kernel(task: Task[Op], plane: Plane, weight: Array, bias: Array) -> Kernel:
    """Depthwise convolution with multiplier one; weight [c, 1, kh, kw] is packed as [kh, kw, c]."""
    bias, zero_point = folded_zero_point(task.op, weight, bias, any(plane.window.pads))
    storage, dtype, codegen = storage_of(task.inputs[1]), task.result.type.dtype, task.target.codegen
    packed = {**storage.pack(weight, lambda data: data[:, 0].transpose(1, 2, 0)), "bias": bias}

    def combine(frame: Frame) -> Combine:
        weights = PackedWeights(frame.packed, storage, dtype, codegen)
        return weighted(weights, plane.window.kernel[1], len(weight), biased(frame.packed["bias"]), zero_point)

    name = "depthwise_{}x{}".format(*plane.window.kernel)
    tile = window_tile(task, plane)
    reads = windowed_reads(task, plane, tile.pixels)
    return Kernel(name, lambda f: emit_windows(f, plane, combine(f)), packed, task.inputs[1:], tile, reads)


def weighted(weights: PackedWeights, columns: int, channels: int, start: Start, zero_point: int) -> Combine:
    """Sums of elements by weights [kh, kw, c]."""

    def step(acc: Expr, x: Expr, tap: tuple[Expr, Expr], at: Point) -> Expr:
        element = weights.start + (tap[0] * columns + tap[1]) * channels + at.index[0]
        return acc + widened(x, zero_point, dtype=weights.dtype) * weights.load(WeightPlace(element, at.lanes))

    return Combine(lambda at: start(at.index[0], at.lanes), step, lambda acc, count: acc)


@kernel_rule(SumPool, MaxPool, AveragePool, strided=True)
def pool_kernel(task: Task[SumPool | Pool]) -> Kernel:
    """Poolings over one or two axes; the plain nest does those over three."""
    x = task.inputs[0]
    if x.type.rank > 4:
        return pool_nest(task)
    plane = plane_of(x.type.static_shape[2:], task.result.type.static_shape[2:], task.op.window())
    combine = pooling(task.op, plane, x.type.dtype, task.result.type.dtype)
    tile = window_tile(task, plane)
    reads = windowed_reads(task, plane, tile.pixels)
    return Kernel(task.op.name, lambda f: emit_windows(f, plane, combine), {}, tile=tile, reads=reads)


def pooling(op: SumPool | Pool, plane: Plane, dtype: str, wide: str) -> Combine:
    if isinstance(op, SumPool):
        return total(op.zero_point, wide)
    return mean(op, plane, dtype) if isinstance(op, AveragePool) else maximum(dtype)


@kernel_rule(ReduceMean, strided=True)
def mean_kernel(task: Task[ReduceMean]) -> Kernel:
    """A mean over one or two spatial axes is a pooling over the whole plane; any other goes by the plain nest."""
    x = task.inputs[0]
    if x.type.rank not in (3, 4) or task.op.axes != tuple(range(2, x.type.rank)) or not task.op.keepdims:
        return reduce_nest(task)
    pool = AveragePool(kernel=x.type.static_shape[2:])
    plane = plane_of(x.type.static_shape[2:], (1,) * (x.type.rank - 2), pool.window())
    combine = mean(pool, plane, x.type.dtype)
    return Kernel("global_average", lambda f: emit_windows(f, plane, combine), {}, tile=window_tile(task, plane))


def in_lanes(value: Expr, at: Point) -> Expr:
    return tirx.Broadcast(value, at.lanes) if at.lanes > 1 else value


def maximum(dtype: str) -> Combine:
    """The largest element; padding never wins."""
    return Combine(
        lambda at: in_lanes(tirx.const(limits(dtype)[0], dtype), at),
        lambda acc, x, tap, at: largest(acc, x),
        lambda acc, count: acc,
    )


def total(zero_point: int, dtype: str) -> Combine:
    """The sum of the centred elements inside the input."""
    return Combine(
        lambda at: in_lanes(tirx.const(0, dtype), at),
        lambda acc, x, tap, at: acc + widened(x, zero_point, dtype=dtype),
        lambda acc, count: acc,
    )


def mean(op: AveragePool, plane: Plane, dtype: str) -> Combine:
    """The mean over the elements inside the input, or over the whole window if the operator counts padding."""
    total = int(np.prod(plane.window.kernel))

    def finish(acc: Expr, count: Expr) -> Expr:
        if op.count_include_pad or isinstance(count, int):
            return acc * tirx.const(1 / (total if op.count_include_pad else count), str(acc.ty))
        lanes = getattr(acc.ty, "lanes", 1)
        divisor = tirx.Cast(dtype, count)
        return acc / (tirx.Broadcast(divisor, lanes) if lanes > 1 else divisor)

    return Combine(lambda at: in_lanes(tirx.const(0.0, dtype), at), lambda acc, x, tap, at: acc + x, finish)


def window_tile(task: Task[Op], plane: Plane) -> RegisterTile:
    """One vector of channels by as many pixels as fit a quarter of the registers."""
    inside = max(1, plane.interior(1)[1] - plane.interior(1)[0])
    return RegisterTile(balanced(inside, max(1, min(MAX_PIXELS, task.target.registers // 4))), 1)


def emit_windows(frame: Frame, plane: Plane, combine: Combine, place: Placing = as_it_is) -> None:
    """Loops over batch, channel vectors, rows and tiles of pixels; the columns of a window are written out."""
    x = as_plane(frame.tensors[frame.task.inputs[0]])
    lanes = frame.task.target.lanes
    pixels = window_tile(frame.task, plane).pixels
    with loop("n", 0, x.shape[0]) as n:
        for segment in channel_segments(x.shape[1], lanes, 1):
            with loop("block", 0, segment.blocks) as block, loop("y", 0, plane.out[0]) as y:
                channel = segment.start + block * segment.lanes
                Windows(frame, plane, combine, x, segment, n, channel, place).emit_row(y, pixels)


@dataclass(frozen=True)
class Windows:
    """One vector of channels of a channelwise kernel."""

    frame: Frame
    plane: Plane
    combine: Combine
    x: Tensor
    segment: Segment
    n: Expr
    channel: Expr
    place: Placing

    def emit_row(self, y: Expr, pixels: int) -> None:
        rows = self.plane.taps(0, y)
        store = finishing(self.frame, as_plane, Tail(self.frame, as_plane), self.place)
        lanes, plane = self.segment.lanes, self.plane
        channels = Point((self.channel,), 0, lanes)

        def tile(column: Expr, size: int, columns: tuple[Expr, Expr]) -> None:
            acc = Locals("acc", size, self.frame.task.result.type.dtype, lanes)
            for p in range(size):
                acc[p] = self.combine.start(channels)
            with loop("ky", *rows) as ky:
                for_columns(columns, lambda kx: self.accumulate(acc, size, (y, column), (ky, kx)))
            count = (rows[1] - rows[0]) * (columns[1] - columns[0])
            for p in range(size):
                point = Point((self.n, self.channel, y, column + p), 1, lanes)
                store(point, self.combine.finish(acc[p], count))

        plane.for_each_tile(pixels, tile)

    def accumulate(self, acc: Locals, size: int, at: tuple[Expr, Expr], tap: tuple[Expr, Expr]) -> None:
        lanes, plane = self.segment.lanes, self.plane
        for p in range(size):
            source = plane.source(0, at[0], tap[0]), plane.source(1, at[1] + p, tap[1])
            x = self.x.load(Point((self.n, self.channel, *source), 1, lanes))
            acc[p] = self.combine.step(acc[p], x, tap, Point((self.channel,), 0, lanes))


def for_columns(columns: tuple[Expr, Expr], emit: Callable[[Expr], None]) -> None:
    """Call ``emit`` for each column tap: unrolled if there are few, else in a loop."""
    low, high = columns
    if isinstance(low, int) and isinstance(high, int) and high - low <= UNROLLED_COLUMNS:
        for kx in range(low, high):
            emit(kx)
    else:
        with loop("kx", low, high) as kx:
            emit(kx)
