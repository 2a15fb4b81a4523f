"""Strips of a plane, copied into scratch with their padding, and widened to another dtype if need be.

So windows are whole everywhere, and all channels of a row of taps stand side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ops import Window
from graphopt.targets.kernels.base import Scratch
from graphopt.targets.kernels.geometry import Place, Plane
from graphopt.targets.schedule import channel_segments
from graphopt.targets.tir import Expr, Point, Tensor, cast, loop, when

LEAST_PIXELS = 24
"""Of a strip of the result, so that weights are read from far not too often."""
MOST_INTERLEAVED = 4
"""Channels that are interleaved in vectors, where each is a plane of its own."""
SLACK = 2
"""Elements behind a strip that may be read, and count nothing; of bytes, those of a word without its first."""


@dataclass(frozen=True)
class PaddedStrips:
    """Strips of ``size`` rows of the result, or of pixels if the plane is one row; ``channels`` of each pixel.

    Along an axis whose windows have one tap, only what the windows read is in the strip. Elements are of ``dtype``, and
    are copied in vectors of ``lanes``; padding is ``fill_value``. An ``offset`` of 128 or -128 turns elements of int8
    into uint8, or back.
    """

    plane: Plane
    channels: int
    fill_value: int
    dtype: str
    lanes: int
    pixels: int
    """Of a tile: strips of pixels are of whole tiles."""
    room: int
    """The bytes of a strip, where it is more than the least."""
    lines: int = 1
    """Strips of rows are of a multiple of these."""
    offset: int = 0

    @property
    def axis(self) -> int:
        """Along which strips are cut."""
        return 1 if self.plane.out[0] == 1 and self.plane.window.kernel == (1, 1) else 0

    @property
    def size(self) -> int:
        """Rows or pixels of the result in a strip."""
        across = self.plane.out[1 - self.axis]
        line = np.dtype(self.dtype).itemsize * self.channels * self.width(1 - self.axis, across)
        shared = self.width(self.axis, 1) - self.stride(self.axis)
        fitting = (self.room // line - shared) // self.stride(self.axis)
        size = max(1, fitting, -(-LEAST_PIXELS // across))
        whole = self.pixels if self.axis == 1 else self.lines
        size = -(-size // whole) * whole
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

    def elements(self, size: int) -> int:
        """Of a strip of a size."""
        return self.width(0, self.rows_and_columns(size)[0]) * self.row

    @property
    def scratch(self) -> Scratch:
        return Scratch(self.dtype, self.elements(self.size) + max(SLACK, 4 // np.dtype(self.dtype).itemsize - 1))

    def plane_of(self, size: int) -> Plane:
        """The windows of a strip of a size over what is in scratch: none reads padding of its own."""
        out = self.rows_and_columns(size)
        window = self.plane.window
        strides, dilations = (self.stride(0), self.stride(1)), window.dilations
        inside = self.width(0, out[0]), self.width(1, out[1])
        return Plane(inside, out, Window(window.kernel, strides, (0,) * 4, dilations))

    def view(self, strip: Tensor) -> Tensor:
        """A strip as [n, c, h, w], of one sample for every n."""
        inside = self.plane_of(self.size).size
        return Tensor(strip.buffer, self.dtype, (1, self.channels, *inside), (0, 1, self.row, self.channels))

    def place(self, first: Expr, at: Place) -> Place:
        """Where the result has a place of the strip that begins at row or pixel ``first``."""
        y, x = at
        return (first + y, x) if self.axis == 0 else (y, first + x)

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
        before = max(0, min(columns, -(-pad // step)))
        inside = max(0, min(columns, (self.plane.size[1] - 1 + pad) // step + 1) - before)
        start, source = row * self.row, left * self.plane.window.strides[1] + before * step - pad
        self.fill(strip, start, before * channels)
        self.fill(strip, start + (before + inside) * channels, (columns - before - inside) * channels)
        start = start + before * channels
        side_by_side = channels == 1 or x.strides[1] == 1
        if side_by_side and step == 1 and (x.shape[3] == 1 or x.strides[3] == channels):
            self.copy(strip, x, start, (*at, source), inside * channels)
            return
        if side_by_side:
            with loop("column", 0, inside) as column:
                self.copy(strip, x, start + column * channels, (*at, source + column * step), channels)
            return
        lanes = self.lanes if step == x.strides[3] == 1 and channels <= MOST_INTERLEAVED else 1
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
                strip.store(Point((start + c,)), self.stored(x.load(Point((at[0], c, *at[1:])))))
            return
        planes = [x.load(Point((at[0], c, *at[1:]), 3, pixels)) for c in range(channels)]
        for part in range(channels):
            elements = range(part * pixels, (part + 1) * pixels)
            joined = tirx.Shuffle(planes, [e % channels * pixels + e // channels for e in elements])
            strip.store(Point((start + part * pixels,), 0, pixels), self.stored(joined))

    def stored(self, elements: Expr) -> Expr:
        """Elements as the strip has them."""
        same = cast(elements, self.dtype)
        return tirx.bitwise_xor(same, tirx.const(self.offset, str(same.ty))) if self.offset else same

    def copy(self, strip: Tensor, x: Tensor, start: Expr, at: tuple[Expr, ...], count: int) -> None:
        """So many elements side by side, from a pixel's first on."""
        n, y, column = at
        source = x.address((n, 0, y, column))
        line = Tensor(x.buffer, x.dtype, (x.shape[0],), (1,))
        for segment in channel_segments(count, self.lanes, 1):
            with loop("i", 0, segment.blocks) as i:
                offset = segment.start + i * segment.lanes
                vector = line.load(Point((source + offset,), 0, segment.lanes))
                strip.store(Point((start + offset,), 0, segment.lanes), self.stored(vector))

    def fill(self, strip: Tensor, start: Expr, count: int) -> None:
        """So many elements of padding."""
        for segment in channel_segments(count, self.lanes, 1):
            kind = self.dtype if segment.lanes == 1 else f"{self.dtype}x{segment.lanes}"
            with loop("i", 0, segment.blocks) as i:
                place = start + segment.start + i * segment.lanes
                strip.store(Point((place,), 0, segment.lanes), tirx.const(self.fill_value, kind))
