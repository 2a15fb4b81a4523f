"""Direct convolution and matrix product: a register tile of pixels by channel vectors, weights packed for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op
from graphopt.ops import SCALE_GROUP, Conv, ConvInteger, Linear, LinearInteger, Window
from graphopt.targets.kernels.base import Frame, Kernel, Task, View, kernel_rule
from graphopt.targets.kernels.channelwise import depthwise_kernel
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows, plane_of
from graphopt.targets.kernels.nest import conv_nest, linear_nest
from graphopt.targets.kernels.order import tiled_reads
from graphopt.targets.kernels.quantized import folded_zero_point, prove_no_overflow, widened
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.schedule import Segment, channel_segments, choose_tile
from graphopt.targets.tir import Expr, Locals, Point, loop
from graphopt.targets.weights import Storage, WeightPlace, storage_of

UNROLLED = {"c": 64, "llvm": 192}
"""A row of taps is unrolled if it has at most this many multiply-adds, by code generator."""


@dataclass(frozen=True)
class Channels:
    """The channels of a grouped convolution."""

    group: int
    group_in: int
    group_out: int


TILED = ("float32", "int8", "uint8", "int16")
"""The dtypes of activations that have tiled kernels."""


@kernel_rule(Conv, ConvInteger)
def conv_kernel(task: Task[Conv | ConvInteger]) -> Kernel:
    """Convolution over one or two axes with constant weights; the plain nest does any other."""
    x, w, b = task.inputs
    weight, bias = w.constant, b.constant
    if weight is None or bias is None or x.type.rank > 4 or x.type.dtype not in TILED:
        return conv_nest(task)
    prove_no_overflow(task.op, weight, bias, x.type.dtype, task.region.node.name)
    (n, c, *size), (_, o, *out) = x.type.static_shape, task.result.type.static_shape
    plane = plane_of(tuple(size), tuple(out), task.op.window(w.type))
    channels = Channels(task.op.group, c // task.op.group, o // task.op.group)
    weight = weight.reshape(*weight.shape[:2], *plane.window.kernel)
    if channels.group_in == channels.group_out == 1 and task.region.tail is None:
        return depthwise_kernel(task, plane, weight, bias)
    pointwise = plane.window == Window.of((1, 1), (), ()) and task.region.tail is None
    if pointwise and as_row(task.strided(x)) is not None and task.allows(as_row):
        pixels = plane.out[0] * plane.out[1]
        plane = Plane((1, pixels), (1, pixels), plane.window)
        return tiled_kernel(task, "conv_1x1", n, channels, plane, weight, bias, as_row)
    name = "conv_{}x{}".format(*plane.window.kernel)
    return tiled_kernel(task, name, n, channels, plane, weight, bias, as_plane)


@kernel_rule(Linear, LinearInteger)
def linear_kernel(task: Task[Linear | LinearInteger]) -> Kernel:
    """A matrix product with constant weights is a pointwise convolution over one row; the plain nest does any other."""
    x, w, b = task.inputs
    weight, bias = w.constant, b.constant
    rows = as_rows(task.strided(x))
    if weight is None or bias is None or rows is None or not task.allows(as_rows) or x.type.dtype not in TILED:
        return linear_nest(task)
    prove_no_overflow(task.op, weight, bias, x.type.dtype, task.region.node.name)
    pixels = rows.shape[3]
    plane = Plane((1, pixels), (1, pixels), Window.of((1, 1), (), ()))
    channels = Channels(1, weight.shape[1], weight.shape[0])
    return tiled_kernel(task, "linear", 1, channels, plane, weight[:, :, None, None], bias, as_rows)


def pack_weights(weight: Array, channels: Channels, segments: list[Segment]) -> Array:
    """Weights [o, i, kh, kw] packed, for each group and block of channels, as [kh, kw, i, channel of the block]."""
    parts = []
    for group in weight.reshape(channels.group, channels.group_out, *weight.shape[1:]):
        for segment in segments:
            stop = segment.start + segment.blocks * segment.width
            blocks = group[segment.start : stop].reshape(segment.blocks, segment.width, *weight.shape[1:])
            parts.append(blocks.transpose(0, 3, 4, 2, 1).ravel())
    return np.concatenate(parts)


def tiled_kernel(
    task: Task[Op], name: str, batch: int, channels: Channels, plane: Plane, weight: Array, bias: Array, view: View
) -> Kernel:
    """The kernel of a convolution over a plane; ``view`` views its tensors as [n, c, h, w]."""
    row = max(1, plane.interior(1)[1] - plane.interior(1)[0])
    tile = choose_tile(task.target, row, channels.group_out, integers="int" in task.result.type.dtype)
    segments = channel_segments(channels.group_out, task.target.lanes, tile.vectors)
    _, w, b = task.inputs
    bias, zero_point = folded_zero_point(task.op, weight, bias, any(plane.window.pads))
    storage = storage_of(w)
    packed = {"bias": bias, **storage.pack(weight, lambda data: pack_weights(data, channels, segments))}

    def emit(frame: Frame) -> None:
        TiledConv(frame, channels, plane, view, tile.pixels, zero_point, storage).emit(batch, segments)

    reads = tiled_reads(task, plane, view, tile.pixels, segments[-1].width) if pixels_first(task) else {}
    return Kernel(name, emit, packed, replaced=(w, b), tile=tile, reads=reads)


def pixels_first(task: Task[Op]) -> bool:
    """Whether all channels of a tile are computed before the next: where the result may then lie over its operand.

    It costs microcontrollers 1 to 3 % of their instructions.
    """
    return task.inputs[0] in task.covered and task.region.tail is None


@dataclass(frozen=True)
class OutputBlock:
    """A block of output channels: its start, its first input channel and its packed weights."""

    segment: Segment
    n: Expr
    channel: Expr
    first_in: Expr
    weights: Expr


class TiledConv:
    """The loops of one tiled convolution: batch, group, block of channels, row, tile, taps; or rows and tiles first."""

    def __init__(
        self, frame: Frame, channels: Channels, plane: Plane, view: View, pixels: int, zero_point: int, storage: Storage
    ) -> None:
        self.channels, self.plane, self.pixels, self.zero_point = channels, plane, pixels, zero_point
        self.dtype, self.storage = frame.task.result.type.dtype, storage
        self.packed, self.bias = frame.packed, frame.packed["bias"]
        x = view(frame.tensors[frame.task.inputs[0]])
        assert x is not None
        self.x = x
        self.codegen = frame.task.target.codegen
        self.unrolled = UNROLLED[self.codegen]
        self.pixels_first = pixels_first(frame.task)
        self.tail = Tail(frame, view)
        self.epilogue = frame.epilogue(view)
        kernel = plane.window.kernel
        # the taps of a row are contiguous in memory, both in the input and in the packed weights
        self.merged = (
            x.strides[1] == 1
            and x.strides[3] == channels.group_in
            and channels.group == 1
            and plane.window.dilations[1] == 1
            and kernel[1] > 1
            and not storage.by_channel
        )

    def emit(self, batch: int, segments: list[Segment]) -> None:
        self.tail.prefill()
        with loop("n", 0, batch) as n:
            if self.pixels_first:
                self.each_tile(lambda *tile: self.each_block(n, segments, lambda block: self.emit_tile(block, *tile)))
            else:
                self.each_block(n, segments, lambda block: self.each_tile(lambda *tile: self.emit_tile(block, *tile)))

    def each_block(self, n: Expr, segments: list[Segment], emit: Callable[[OutputBlock], None]) -> None:
        """Call ``emit`` for each block of channels, by group."""
        channels, kernel = self.channels, self.plane.window.kernel
        per_channel = kernel[0] * kernel[1] * channels.group_in
        with loop("g", 0, channels.group) as g:
            for segment in segments:
                with loop("block", 0, segment.blocks) as block:
                    first = g * channels.group_out + segment.start + block * segment.width
                    emit(OutputBlock(segment, n, first, g * channels.group_in, first * per_channel))

    def each_tile(self, emit: Callable[..., None]) -> None:
        """Call ``emit`` with the first output, pixels, and taps by row and column of each tile."""
        with loop("y", 0, self.plane.out[0]) as y:
            rows = self.plane.taps(0, y)
            self.plane.for_each_tile(self.pixels, lambda x, pixels, columns: emit((y, x), pixels, rows, columns))

    def emit_tile(
        self,
        block: OutputBlock,
        at: tuple[Expr, Expr],
        pixels: int,
        rows: tuple[Expr, Expr],
        columns: tuple[Expr, Expr],
    ) -> None:
        """Accumulate a tile over all its taps and channels, apply the epilogue, store."""
        vectors, lanes = block.segment.vectors, block.segment.lanes
        acc = Locals("acc", pixels * vectors, self.dtype, lanes)
        for v in range(vectors):
            start = self.bias.load(Point((block.channel + v * lanes,), 0, lanes))
            for p in range(pixels):
                acc[p * vectors + v] = start
        with loop("ky", *rows) as ky:
            row = self.plane.source(0, at[0], ky)

            def tap(kx: Expr, channel: Expr, index: Expr) -> None:
                weights = self.weights_at(block, ky, channel, index)
                for p in range(pixels):
                    column = self.plane.source(1, at[1] + p, kx)
                    x = self.x.load(Point((block.n, block.first_in + channel, row, column)))
                    x = widened(x, self.zero_point, dtype=self.dtype)
                    x = tirx.Broadcast(x, lanes) if lanes > 1 else x
                    for v in range(vectors):
                        acc[p * vectors + v] = acc[p * vectors + v] + x * weights[v]

            self.for_each_tap(columns, pixels * vectors, tap)
        for p in range(pixels):
            for v in range(vectors):
                point = Point((block.n, block.channel + v * lanes, at[0], at[1] + p), 1, lanes)
                self.tail.store(point, self.epilogue(acc[p * vectors + v], point))

    def weights_at(self, block: OutputBlock, ky: Expr, channel: Expr, index: Expr) -> list[Expr]:
        """The vectors of packed weights of one tap: ``index`` counts columns times input channels."""
        segment = block.segment
        row = self.plane.window.kernel[1] * self.channels.group_in
        start = block.weights + (ky * row + index) * segment.width
        groups = -(-self.channels.group_in // SCALE_GROUP)
        factor = block.channel * groups + tirx.floordiv(channel, SCALE_GROUP) * segment.width
        firsts = range(0, segment.width, segment.lanes)
        places = [WeightPlace(start + first, segment.lanes, factor + first) for first in firsts]
        return [self.storage.load(self.packed, place, self.dtype, self.codegen) for place in places]

    def for_each_tap(
        self, columns: tuple[Expr, Expr], accumulators: int, emit: Callable[[Expr, Expr, Expr], None]
    ) -> None:
        """Call ``emit(column tap, input channel, index of the tap in its row)`` over a row of taps."""
        (low, high), depth = columns, self.channels.group_in
        if isinstance(low, int) and isinstance(high, int) and (high - low) * depth * accumulators <= self.unrolled:
            for kx in range(low, high):
                for c in range(depth):
                    emit(kx, c, kx * depth + c)
        elif self.merged:
            with loop("k", low * depth, high * depth) as k:
                emit(0, k, k)
        else:
            with loop("kx", low, high) as kx, loop("c", 0, depth) as c:
                emit(kx, c, kx * depth + c)
