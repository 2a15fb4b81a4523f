"""The loops of convolutions and matrix products: register tiles of pixels by channel vectors, and packed weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import SCALE_GROUP
from graphopt.targets.kernels.ahead import Ahead
from graphopt.targets.kernels.base import Frame, View
from graphopt.targets.kernels.geometry import Cut, Place, Plane, Taps
from graphopt.targets.kernels.quantized import widened
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.schedule import Segment, runs
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop
from graphopt.targets.weights import Storage, WeightPlace

UNROLLED = {"c": 64, "llvm": 192}
"""A row of taps is unrolled if it has at most this many multiply-adds, by code generator."""
AXES = ("z", "y", "x")
"""The names of loops over spatial axes, the last ones first used."""


@dataclass(frozen=True)
class Channels:
    """The channels of a grouped convolution."""

    group: int
    group_in: int
    group_out: int


def pack_weights(weight: Array, channels: Channels, segments: Sequence[Segment]) -> Array:
    """Weights [o, i, *k] packed, for each group and block of channels, as [*k, i, channel of the block]."""
    parts = []
    for group in weight.reshape(channels.group, channels.group_out, *weight.shape[1:]):
        for segment in segments:
            stop = segment.start + segment.blocks * segment.width
            blocks = group[segment.start : stop].reshape(segment.blocks, segment.width, *weight.shape[1:])
            parts.append(np.moveaxis(blocks, (1, 2), (-1, -2)).ravel())
    return np.concatenate(parts)


@dataclass(frozen=True)
class PackedWeights:
    """Weights as their storage has packed them.

    ``start`` is the first of a part of them, ``dtype`` that of the accumulator. Those of windows of one tap, which are
    stored whole, may be ``prefetched``, block by block.
    """

    packed: Mapping[str, Tensor]
    storage: Storage
    dtype: str
    codegen: str
    start: Expr = 0
    prefetched: bool = False

    def load(self, at: WeightPlace) -> Expr:
        return self.storage.load(self.packed, at, self.dtype, self.codegen)

    def address(self, element: Expr) -> Expr:
        """Of weights that are stored whole."""
        return self.packed["weight"].at(element)


@dataclass(frozen=True)
class OutputBlock:
    """A block of output channels: its start, its first input channel and its packed weights."""

    segment: Segment
    n: Expr
    channel: Expr
    first_in: Expr
    weights: Expr

    def point(self, vector: int, at: Place) -> Point:
        """One vector of the block's channels at a place of the plane."""
        lanes = self.segment.lanes
        return Point((self.n, self.channel + vector * lanes, *at), 1, lanes)


Start = Callable[[Expr, int], Expr]
"""The first value of the sums of so many channels from one on."""
Store = Callable[[Point, Expr], None]
"""Stores a vector of sums at a point of the plane."""
EmitTap = Callable[[Expr, Expr, Expr], None]
"""Takes a column of the taps, an input channel, and the index of the tap in its row."""
Placing = Callable[[Place], Place]
"""Where the result has a place of the plane."""


def as_it_is(at: Place) -> Place:
    return at


def biased(bias: Tensor, first: Expr = 0) -> Start:
    """Sums start with the bias, whose elements stand from ``first`` on."""
    return lambda channel, lanes: bias.load(Point((first + channel,), 0, lanes))


def finishing(frame: Frame, view: View, tail: Tail, place: Placing = as_it_is) -> Store:
    """Sums go through the epilogue into the result."""
    epilogue = frame.epilogue(view)

    def store(at: Point, value: Expr) -> None:
        n, channel, *spatial = at.index
        point = Point((n, channel, *place(tuple(spatial))), at.lane_axis, at.lanes)
        tail.store(point, epilogue(value, point))

    return store


@dataclass(frozen=True)
class TiledConv:
    """The loops of one tiled convolution: batch, group, block of channels, row, tile, taps; or rows and tiles first.

    ``x`` is [n, c, *spatial], over as many axes as the plane has.
    """

    x: Tensor
    channels: Channels
    plane: Plane
    pixels: int
    weights: PackedWeights
    start: Start
    store: Store
    zero_point: int = 0
    pixels_first: bool = False
    cut: Cut = runs
    across_rows: bool = False
    """Whether a tile may begin in one row and end in the next; all windows are whole then."""

    @property
    def dtype(self) -> str:
        return self.weights.dtype

    @property
    def merged(self) -> bool:
        """Whether the taps of a row are contiguous in memory, both in the input and in the packed weights."""
        window = self.plane.window
        return (
            self.x.strides[1] == 1
            and self.x.strides[-1] == self.channels.group_in
            and self.channels.group == 1
            and window.dilations[-1] == 1
            and window.kernel[-1] > 1
            and not self.weights.storage.by_channel
        )

    def emit(self, batch: int, segments: Sequence[Segment]) -> None:
        with loop("n", 0, batch) as n:
            self.emit_sample(n, segments)

    def emit_sample(self, n: Expr, segments: Sequence[Segment]) -> None:
        if self.pixels_first:
            self.each_tile(lambda *tile: self.each_block(n, segments, lambda block: self.emit_tile(block, *tile)))
        else:
            self.each_block(n, segments, lambda block: self.each_tile(lambda *tile: self.emit_tile(block, *tile)))

    def each_block(self, n: Expr, segments: Sequence[Segment], emit: Callable[[OutputBlock], None]) -> None:
        """Call ``emit`` for each block of channels, by group."""
        channels = self.channels
        per_channel = int(np.prod(self.plane.window.kernel)) * channels.group_in
        with loop("g", 0, channels.group) as g:
            for segment in segments:
                with loop("block", 0, segment.blocks) as block:
                    first = g * channels.group_out + segment.start + block * segment.width
                    weights = self.weights.start + first * per_channel
                    emit(OutputBlock(segment, n, first, g * channels.group_in, weights))

    def each_tile(self, emit: Callable[[Sequence[Place], Sequence[Taps]], None]) -> None:
        """Call ``emit`` with the places of each tile, and its taps by axis."""
        if self.across_rows:
            self.each_tile_across_rows(emit)
            return
        with ExitStack() as loops:
            *outer, _ = AXES[-self.plane.rank :]
            at = tuple(
                loops.enter_context(loop(name, 0, size)) for name, size in zip(outer, self.plane.out, strict=False)
            )
            lines = [self.plane.taps(axis, position) for axis, position in enumerate(at)]

            def tile(x: Expr, pixels: int, columns: Taps) -> None:
                emit([(*at, x + p) for p in range(pixels)], [*lines, columns])

            self.plane.for_each_tile(self.pixels, tile, self.cut)

    def each_tile_across_rows(self, emit: Callable[[Sequence[Place], Sequence[Taps]], None]) -> None:
        height, width = self.plane.out
        for start, count, size in self.cut(height * width, self.pixels):
            with loop("tile", 0, count) as t:
                pixels = [start + t * size + p for p in range(size)]
                places = [(tirx.floordiv(pixel, width), tirx.floormod(pixel, width)) for pixel in pixels]
                emit(places, [(0, k) for k in self.plane.window.kernel])

    def emit_tile(self, block: OutputBlock, places: Sequence[Place], taps: Sequence[Taps]) -> None:
        """Accumulate a tile over all its taps and channels, and store it."""
        vectors, lanes, pixels = block.segment.vectors, block.segment.lanes, len(places)
        acc = Locals("acc", pixels * vectors, self.dtype, lanes)
        for v in range(vectors):
            start = self.start(block.channel + v * lanes, lanes)
            for p in range(pixels):
                acc[p * vectors + v] = start
        *lines, columns = taps
        names = AXES[-self.plane.rank : -1]
        with ExitStack() as loops:
            outer = [loops.enter_context(loop(f"k{name}", *line)) for name, line in zip(names, lines, strict=True)]

            def accumulate(kx: Expr, channel: Expr, index: Expr) -> None:
                weights = self.weights_at(block, outer, channel, index)
                for p, at in enumerate(places):
                    source = [
                        self.plane.source(axis, i, k) for axis, (i, k) in enumerate(zip(at, (*outer, kx), strict=True))
                    ]
                    x = self.x.load(Point((block.n, block.first_in + channel, *source)))
                    x = widened(x, self.zero_point, dtype=self.dtype)
                    x = tirx.Broadcast(x, lanes) if lanes > 1 else x
                    for v in range(vectors):
                        acc[p * vectors + v] = acc[p * vectors + v] + x * weights[v]

            if self.weights.prefetched:
                self.for_each_channel_ahead(block, places[0], accumulate)
            else:
                self.for_each_tap(columns, pixels * vectors, accumulate)
        for p, at in enumerate(places):
            for v in range(vectors):
                self.store(block.point(v, at), acc[p * vectors + v])

    def weights_at(self, block: OutputBlock, outer: Sequence[Expr], channel: Expr, index: Expr) -> list[Expr]:
        """The vectors of packed weights of one tap: ``index`` counts columns times input channels."""
        segment, kernel = block.segment, self.plane.window.kernel
        line = in_order(outer, kernel)
        start = block.weights + (line * (kernel[-1] * self.channels.group_in) + index) * segment.width
        groups = -(-self.channels.group_in // SCALE_GROUP)
        factor = block.channel * groups + tirx.floordiv(channel, SCALE_GROUP) * segment.width
        firsts = range(0, segment.width, segment.lanes)
        return [self.weights.load(WeightPlace(start + first, segment.lanes, factor + first)) for first in firsts]

    def for_each_tap(self, columns: Taps, accumulators: int, emit: EmitTap) -> None:
        """Call ``emit`` over a row of taps."""
        (low, high), depth = columns, self.channels.group_in
        unrolled = UNROLLED[self.weights.codegen]
        if isinstance(low, int) and isinstance(high, int) and (high - low) * depth * accumulators <= unrolled:
            for kx in range(low, high):
                for c in range(depth):
                    emit(kx, c, kx * depth + c)
        elif self.merged:
            with loop("k", low * depth, high * depth) as k:
                emit(0, k, k)
        else:
            with loop("kx", low, high) as kx, loop("c", 0, depth) as c:
                emit(kx, c, kx * depth + c)

    def for_each_channel_ahead(self, block: OutputBlock, first: Place, emit: EmitTap) -> None:
        """The same for the channels of a single tap, of the tile that begins at ``first``, with prefetches."""
        width, tiles = block.segment.width, max(1, math.prod(self.plane.out) // self.pixels)
        following = block.weights + self.channels.group_in * width
        ahead = Ahead(width, block.segment.lanes, tiles, lambda number: self.weights.address(following + number))
        tile = tirx.floordiv(in_order(first, self.plane.out), self.pixels)
        ahead.each_row(tile, self.channels.group_in, lambda channel: emit(0, channel, channel))


def in_order(place: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """The number of a place in a dense order, the last axis innermost."""
    number: Expr = 0
    for at, size in zip(place, shape, strict=False):
        number = number * size + at
    return number
