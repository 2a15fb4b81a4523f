"""Strips of a plane of 8 bits, widened to 16 bits into scratch, with padding, which is the zero point.

So windows are whole everywhere, and all channels of a row of taps stand side by side: PMADDWD takes two at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Scratch
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.schedule import channel_segments
from graphopt.targets.tir import Expr, Point, Tensor, cast, loop, when

STRIP_BYTES = 1 << 15
"""Of a strip, where it is more than the least: what stays in the first cache, or at worst in the second."""
LEAST_PIXELS = 24
"""Of a strip of the result, so that weights are read from far not too often."""
MOST_INTERLEAVED = 4
"""Channels that are interleaved in vectors, where each is a plane of its own."""
SLACK = 2
"""Elements behind a strip that may be read, and count nothing."""


def folded_bias(weight: Array, bias: Array, zero_point: int, dtype: str) -> Array:
    """The bias of sums that take elements as they are; raises ``Decline`` if these may need more than 32 bits."""
    limits, magnitudes = np.iinfo(dtype), np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1)
    folded = bias - zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    if not limits.min <= zero_point <= limits.max:
        raise Decline("its zero point is no element")
    if (np.abs(folded) + magnitudes * max(-limits.min, limits.max)).max() >= 1 << 31:
        raise Decline("sums without the zero point may need more than 32 bits")
    return np.asarray(folded.astype(np.int32))


@dataclass(frozen=True)
class WidenedStrips:
    """Strips of ``size`` rows of the result, or of pixels if the plane is one row; ``channels`` of each pixel.

    Along an axis whose windows have one tap, only what the windows read is in the strip.
    """

    plane: Plane
    channels: int
    zero_point: int
    lanes: int
    pixels: int
    """Of a tile: strips of pixels are of whole tiles."""

    @property
    def axis(self) -> int:
        """Along which strips are cut."""
        return 1 if self.plane.out[0] == 1 and self.plane.window.kernel == (1, 1) else 0

    @property
    def size(self) -> int:
        """Rows or pixels of the result in a strip."""
        across = self.plane.out[1 - self.axis]
        line = 2 * self.channels * self.width(1 - self.axis, across)
        shared = self.width(self.axis, 1) - self.stride(self.axis)
        fitting = (STRIP_BYTES // line - shared) // self.stride(self.axis)
        size = max(1, fitting, -(-LEAST_PIXELS // across))
        if self.axis == 1:  # whole tiles, of about as many as there would be
            size = -(-size // self.pixels) * self.pixels
        return min(self.plane.out[self.axis], size)

    def step(self, axis: int) -> int:
        """How far two positions side by side in the strip are from each other in the input."""
        return self.plane.window.strides[axis] if self.plane.window.kernel[axis] == 1 else 1

    def stride(self, axis: int) -> int:
        """From a window to the next, in the strip."""
        return self.plane.window.strides[axis] // self.step(axis)

    def width(self, axis: int, windows: int) -> int:
        """Positions along an axis that so many windows need."""
        return (windows - 1) * self.stride(axis) + self.plane.window.extent[axis]

    def rows_and_columns(self, size: int) -> tuple[int, int]:
        """Of the result, in a strip of a size."""
        return (size, self.plane.out[1]) if self.axis == 0 else (self.plane.out[0], size)

    @property
    def row(self) -> int:
        """Elements of a row of the strip."""
        return self.width(1, self.rows_and_columns(self.size)[1]) * self.channels

    @property
    def scratch(self) -> Scratch:
        return Scratch("int16", self.width(0, self.rows_and_columns(self.size)[0]) * self.row + SLACK)

    def address(self, y: Expr, x: Expr, taps: tuple[Expr, Expr]) -> Expr:
        """Where the channels of a tap begin, of the window at row ``y`` and column ``x`` of the strip."""
        dilations = self.plane.window.dilations
        row = y * self.stride(0) + taps[0] * dilations[0]
        return row * self.row + (x * self.stride(1) + taps[1] * dilations[1]) * self.channels

    def write(self, strip: Tensor, x: Tensor, n: Expr, first: Expr, size: int) -> None:
        """The strip of so many rows or pixels of the result, from ``first`` on."""
        rows, columns = (self.width(axis, count) for axis, count in enumerate(self.rows_and_columns(size)))
        top, left = (first, 0) if self.axis == 0 else (0, first)
        with loop("row", 0, rows) as row:
            source = top * self.plane.window.strides[0] + row * self.step(0) - self.plane.window.pads[0]
            within = self.plane.interior(0) == (0, self.plane.out[0])
            inside = True if within else tirx.all(source >= 0, source < self.plane.size[0])
            with when(inside):
                self.write_row(strip, x, (n, source), row, columns, left)
            if inside is not True:
                with when(tirx.Not(inside)):
                    self.fill(strip, row * self.row, columns * self.channels)

    def write_row(self, strip: Tensor, x: Tensor, at: tuple[Expr, Expr], row: Expr, columns: int, left: Expr) -> None:
        pad, step, channels = self.plane.window.pads[1], self.step(1), self.channels
        before = min(columns, -(-pad // step))
        inside = max(0, min(columns, (self.plane.size[1] - 1 + pad) // step + 1) - before)
        start, source = row * self.row, left * self.plane.window.strides[1] + before * step - pad
        self.fill(strip, start, before * channels)
        self.fill(strip, start + (before + inside) * channels, (columns - before - inside) * channels)
        start = start + before * channels
        side_by_side = channels == 1 or x.strides[1] == 1
        if side_by_side and step == 1 and (x.shape[3] == 1 or x.strides[3] == channels):
            self.widen(strip, x, start, (*at, source), inside * channels)
            return
        if side_by_side:
            with loop("column", 0, inside) as column:
                self.widen(strip, x, start + column * channels, (*at, source + column * step), channels)
            return
        lanes = 2 * self.lanes if step == x.strides[3] == 1 and channels <= MOST_INTERLEAVED else 1
        for segment in channel_segments(inside, lanes, 1):
            with loop("column", 0, segment.blocks) as i:
                column = segment.start + i * segment.lanes
                place = (*at, source + column * step)
                self.interleave(strip, x, start + column * channels, place, segment.lanes)

    def interleave(self, strip: Tensor, x: Tensor, start: Expr, at: tuple[Expr, ...], pixels: int) -> None:
        """So many pixels whose channels stand in planes of their own, from one on."""
        channels = self.channels
        if pixels == 1:
            with loop("c", 0, channels) as c:
                strip.store(Point((start + c,)), cast(x.load(Point((at[0], c, *at[1:]))), "int16"))
            return
        planes = [x.load(Point((at[0], c, *at[1:]), 3, pixels)) for c in range(channels)]
        for part in range(channels):
            elements = range(part * pixels, (part + 1) * pixels)
            joined = tirx.Shuffle(planes, [e % channels * pixels + e // channels for e in elements])
            strip.store(Point((start + part * pixels,), 0, pixels), cast(joined, "int16"))

    def widen(self, strip: Tensor, x: Tensor, start: Expr, at: tuple[Expr, ...], count: int) -> None:
        """So many elements side by side, from a pixel's first on."""
        n, y, column = at
        source = x.address((n, 0, y, column))
        line = Tensor(x.buffer, x.dtype, (x.shape[0],), (1,))
        for segment in channel_segments(count, 2 * self.lanes, 1):
            with loop("i", 0, segment.blocks) as i:
                offset = segment.start + i * segment.lanes
                vector = line.load(Point((source + offset,), 0, segment.lanes))
                strip.store(Point((start + offset,), 0, segment.lanes), cast(vector, "int16"))

    def fill(self, strip: Tensor, start: Expr, count: int) -> None:
        """So many elements of padding."""
        for segment in channel_segments(count, 2 * self.lanes, 1):
            kind = "int16" if segment.lanes == 1 else f"int16x{segment.lanes}"
            with loop("i", 0, segment.blocks) as i:
                place = start + segment.start + i * segment.lanes
                strip.store(Point((place,), 0, segment.lanes), tirx.const(self.zero_point, kind))
