"""Tiles of Winograd's convolution on cores with the DSP extension: two side by side, transformed into scratch.

They are read where they stand in the input. Where they reach over its ends, or its channels are no whole blocks, their
pixels are copied into scratch first, with their padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op, Value
from graphopt.targets.instructions.portable import COPY_RUNS
from graphopt.targets.instructions.products import BLOCK
from graphopt.targets.instructions.winograd import (
    COLUMN_BYTES,
    COLUMNS,
    PATCH,
    PLACES,
    SIDE,
    SPREAD,
    STEP,
    SUM_BYTES,
    TILES,
)
from graphopt.targets.kernels.base import Frame, Scratch, Task, View
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.order import gap, later, pixel_bytes, views
from graphopt.targets.kernels.windows import Compute, Position, Tile
from graphopt.targets.plan import Overlap
from graphopt.targets.tir import Expr, Tensor, loop, when

PIXELS = STEP * COLUMNS


@dataclass(frozen=True)
class TwoTiles(Tile):
    """Results of 2x4 pixels, row by row: the first one, how many ``rows``, and how many columns are there already."""

    top: Expr = 0
    left: Expr = 0
    rows: Expr = STEP
    again: Expr = 0

    def place(self, row: Expr, column: Expr) -> Position:
        """Where one of them is."""
        return self.top + row, self.left + column


@dataclass(frozen=True)
class TileWindows:
    """The tiles of a plane of at least as many columns as two of them have.

    Where columns are left over, the last tiles begin so far to the left that they end with the plane: these columns are
    computed again.
    """

    plane: Plane
    channels: int
    strides: tuple[int, ...]
    zero_point: int

    @property
    def pixels(self) -> int:
        return PIXELS

    @property
    def blocks(self) -> int:
        return -(-self.channels // BLOCK)

    @property
    def pixel(self) -> int:
        """Bytes of a pixel of whole blocks."""
        return BLOCK * self.blocks

    @property
    def standing(self) -> bool:
        """Whether tiles can be read where they stand."""
        return self.channels % BLOCK == 0

    @property
    def inside(self) -> list[bool]:
        """Whether along an axis no tile reaches over the ends."""
        ends = SIDE + STEP * (self.down - 1), self.plane.out[1] + SIDE - STEP
        return [
            pad <= 0 and end - pad <= size
            for pad, end, size in zip(self.plane.window.pads[:2], ends, self.plane.size, strict=True)
        ]

    @property
    def down(self) -> int:
        return -(-self.plane.out[0] // STEP)

    @property
    def across(self) -> int:
        return -(-self.plane.out[1] // COLUMNS)

    def in_order(self, weight: Array) -> Array:
        return weight.reshape(len(weight), -1)

    @property
    def copies(self) -> bool:
        """Whether some tiles are copied into scratch first."""
        return not self.standing or not all(self.inside)

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        """Transformed tiles, and what comes one after the other: a patch of inputs and its columns, then sums."""
        patch = SIDE * PATCH * self.pixel if self.copies else 0
        tiles = Scratch("int32", PLACES * TILES * 2 * self.blocks)
        return {"tiles": tiles, "between": Scratch("int8", max(COLUMN_BYTES + patch, SUM_BYTES))}

    def patch(self, frame: Frame, pixel: Expr) -> Expr:
        """A pointer to a pixel of a patch."""
        return frame.scratch["between"].at(COLUMN_BYTES + pixel * self.pixel)

    @property
    def packed(self) -> Mapping[str, Array]:
        """A pixel of padding."""
        return {"padding": np.full(self.pixel, self.zero_point, np.int8)} if self.copies else {}

    @property
    def effort(self) -> float:
        return 0

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        return {}

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        """Two tiles are read, and then their results are written."""
        operand, result = views(task, view)
        if operand is None or result is None:
            return {}
        (height, width), pads = self.plane.out, self.plane.window.pads
        rows = STEP * np.arange(self.down)[:, None]
        columns = np.minimum(COLUMNS * np.arange(self.across), width - COLUMNS)
        ends = (np.minimum(rows + STEP, height) - 1) * width + columns + COLUMNS
        starts = np.maximum(0, rows - pads[0]) * self.plane.size[1] + np.maximum(0, columns - pads[1])
        written, read = ends.ravel() * pixel_bytes(result), starts.ravel() * pixel_bytes(operand)
        return {task.inputs[0]: Overlap(gap(written, later(read)))}

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        """Loop over all tiles of a sample, in pairs."""
        height, width = self.plane.out
        tiles = frame.scratch["tiles"].at(0)
        with loop("y", 0, self.down) as y, loop("tile", 0, self.across) as tile:
            row, first = STEP * y, COLUMNS * tile
            column = tirx.min(first, width - COLUMNS) if width % COLUMNS else first
            rows = tirx.min(STEP, height - row) if height % STEP else STEP
            self.transform(frame, x, (n, row, column))
            again = first - column if width % COLUMNS else 0
            at = partial(nth_place, row, column)
            compute(TwoTiles(PIXELS, at, tiles, top=row, left=column, rows=rows, again=again))

    def transform(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr, Expr]) -> None:
        n, row, column = at
        top, left = self.plane.source(0, row, 0), self.plane.source(1, column, 0)
        ends = (top, SIDE), (left, PATCH)
        tests = [
            test
            for (start, length), size, inside in zip(ends, self.plane.size, self.inside, strict=True)
            for test in ([] if inside else [start >= 0, start + length <= size])
        ]
        standing = tirx.all(*tests) if tests else True
        if self.standing:
            with when(standing):
                self.spread(frame, x.at(n, 0, top, left), x.strides[2], x.strides[3])
        if not self.standing or tests:
            with when(tirx.Not(standing) if self.standing else True):
                with loop("line", 0, SIDE) as line:
                    self.copy_line(frame, x, (n, top + line, left), line)
                self.spread(frame, self.patch(frame, 0), PATCH * self.pixel, self.pixel)

    def spread(self, frame: Frame, source: Expr, pitch: Expr, step: Expr) -> None:
        tiles, columns = (frame.scratch[name].at(0) for name in ("tiles", "between"))
        SPREAD.run(tiles, source, columns, self.blocks, pitch, step)

    def copy_line(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr, Expr], line: Expr) -> None:
        """A line of a patch: those of its pixels that are in the plane, between padding."""
        n, row, left = at
        down, across = self.inside
        outside = False if down else tirx.any(row < 0, row >= self.plane.size[0])
        if not down or not self.standing:
            with when(outside if self.standing else True):
                self.pad(frame, line, 0, PATCH)
        with when(True if down else tirx.Not(outside)):
            if across:
                self.copy(frame, x, (n, row, left), line, (0, PATCH))
                return
            low = tirx.min(PATCH, tirx.max(0, -left))
            high = tirx.max(low, tirx.min(PATCH, self.plane.size[1] - left))
            for start, stop in ((0, low), (high, PATCH)) if self.standing else ():
                with when(start < stop):
                    self.pad(frame, line, start, stop)
            with when(low < high):
                self.copy(frame, x, (n, row, left), line, (low, high))

    def pad(self, frame: Frame, line: Expr, start: Expr, stop: Expr) -> None:
        target, padding = self.patch(frame, line * PATCH + start), frame.packed["padding"].at(0)
        COPY_RUNS.run(target, padding, self.pixel, stop - start, 0)

    def copy(
        self, frame: Frame, x: Tensor, at: tuple[Expr, Expr, Expr], line: Expr, columns: tuple[Expr, Expr]
    ) -> None:
        """Columns of a line that are in the plane."""
        (n, row, left), (low, high) = at, columns
        if self.standing:
            target, count = self.patch(frame, line * PATCH + low), high - low
            together = x.strides[3] == self.channels
            runs = (count * self.channels, 1, 0) if together else (self.channels, count, x.strides[3])
            COPY_RUNS.run(target, x.at(n, 0, row, left + low), *runs)
            return
        with loop("i", 0, high - low) as i:
            target = self.patch(frame, line * PATCH + low + i)
            COPY_RUNS.run(target, x.at(n, 0, row, left + low + i), self.channels, 1, 0)


def nth_place(row: Expr, column: Expr, slot: Expr) -> Position:
    """Where a result of two tiles is, of which the first is there."""
    return row + tirx.floordiv(slot, COLUMNS), column + tirx.floormod(slot, COLUMNS)
