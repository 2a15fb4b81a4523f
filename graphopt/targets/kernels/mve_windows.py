"""Windows as the routines for Helium take them: elements side by side, where they stand or in columns of scratch.

A window that is one run of bytes is read in place. Others are gathered for a run of pixels of a row: by columns, rows
and channels, so that windows side by side share their columns, and each is one run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op, Value
from graphopt.targets.instructions.mve_columns import COPY_COLUMNS
from graphopt.targets.instructions.mve_products import BLOCK
from graphopt.targets.kernels.base import Frame, Scratch, Task, View
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.order import run_reads, tiled_reads
from graphopt.targets.kernels.windows import Compute, Tile
from graphopt.targets.plan import Overlap
from graphopt.targets.schedule import balanced, runs
from graphopt.targets.tir import Expr, Point, Tensor, loop, when

PIXELS = 2
MOST_BYTES = 2048
"""Of gathered columns, unless a pair of windows needs more."""

MOST_FILLING = 6
"""Bytes of each channel that may be stored to spare the code for what is left of a depth."""


@dataclass(frozen=True)
class Columns:
    """Columns of the padded input that stand apart by ``step``, from ``first`` on, and where in scratch they go."""

    first: Expr
    step: int
    count: int
    place: Expr
    spacing: int


@dataclass(frozen=True)
class ColumnWindows:
    """Windows over a plane of an input [n, c, h, w] with these strides; padding is the zero point.

    Routines read ``block`` elements of a ``dtype`` at once.
    """

    plane: Plane
    channels: int
    strides: tuple[int, ...]
    zero_point: int
    block: int = BLOCK
    dtype: str = "int8"

    @property
    def effort(self) -> float:
        return 0

    @property
    def pixels(self) -> int:
        return min(PIXELS, self.plane.out[1])

    @property
    def column(self) -> int:
        """The bytes of a column."""
        return self.plane.window.kernel[0] * self.channels

    @property
    def shared(self) -> bool:
        """Whether windows side by side have columns in common, and their own one behind the other."""
        window = self.plane.window
        return window.dilations[1] == 1 and window.strides[1] < max(2, window.kernel[1])

    @property
    def step(self) -> int:
        """The bytes from a gathered window to the next."""
        window = self.plane.window
        return self.column * (window.strides[1] if self.shared else window.kernel[1])

    def columns(self, pixels: int) -> int:
        """The columns that are gathered for so many pixels."""
        window = self.plane.window
        return (pixels - 1) * window.strides[1] + window.kernel[1] if self.shared else pixels * window.kernel[1]

    @property
    def run(self) -> int:
        """The pixels of a row that are gathered at once."""
        width = self.plane.out[1]
        fitting = [n for n in range(PIXELS, width + 1) if self.columns(n) * self.column <= MOST_BYTES]
        even = -(-balanced(width, max(fitting, default=PIXELS)) // PIXELS) * PIXELS
        return min(width, even)

    @property
    def padded(self) -> tuple[bool, bool]:
        """Whether windows go beyond the plane, by rows and by columns."""
        up, across = (self.plane.interior(axis) != (0, self.plane.out[axis]) for axis in (0, 1))
        return up, across

    @property
    def stand(self) -> bool:
        """Whether each window is one run of bytes where it stands."""
        window = self.plane.window
        side_by_side = window.kernel[1] == 1 or (window.dilations[1] == 1 and self.strides[3] == self.channels)
        dense = self.strides[1] == 1 or self.channels == 1
        return window.kernel[0] == 1 and not any(self.padded) and side_by_side and dense

    def in_order(self, weight: Array) -> Array:
        rows = weight.transpose(0, 3, 2, 1).reshape(len(weight), -1)
        return rows if self.stand else np.pad(rows, ((0, 0), (0, self.filling)))

    @property
    def filling(self) -> int:
        """The bytes by which gathered windows are read too far, with weights of 0, to make up a block."""
        filling = -self.column * self.plane.window.kernel[1] % self.block
        return filling if filling < MOST_FILLING else 0

    @property
    def packed(self) -> Mapping[str, Array]:
        return {"padding": np.full(self.piece, self.zero_point, self.dtype)} if any(self.padded) else {}

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        size = self.columns(self.run) * self.column + self.filling
        return {} if self.stand else {"columns": Scratch(self.dtype, size)}

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        if self.stand and last is not None:
            return tiled_reads(task, self.plane, view, PIXELS, last)
        if self.stand:
            return run_reads(task, self.plane, view, most, parts)
        return run_reads(task, self.plane, view, self.run)

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        return {}

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        stand, width = self.stand, self.plane.out[1]
        for place in range(0 if stand else self.filling):
            end = frame.scratch["columns"].shape[0] - self.filling
            frame.scratch["columns"].store(Point((end + place,)), tirx.const(0, self.dtype))
        with loop("y", 0, self.plane.out[0]) as y:
            for start, count, size in runs(width, width if stand else self.run):
                with loop("run", 0, count) as run:
                    first = start + run * size
                    if not stand:
                        self.gather(frame, x, (n, y), first, size)
                    for place, tiles, pixels in parts(size, most):
                        with loop("tile", 0, tiles) as tile:
                            compute(self.tile(frame, x, (n, y), first, place + tile * pixels, pixels))

    def tile(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr], first: Expr, place: Expr, pixels: int) -> Tile:
        """Pixels of a run that begins at ``first``, from a place in it on."""
        n, y = at
        if self.stand:
            strides = self.plane.window.strides
            window = x.at(n, 0, y * strides[0], (first + place) * strides[1])
            return Tile(pixels, lambda slot: (y, first + place + slot), window, strides[1] * self.strides[3])
        window = frame.scratch["columns"].at(place * self.step)
        return Tile(pixels, lambda slot: (y, first + place + slot), window, self.step)

    @property
    def piece(self) -> int:
        """The channels that stand side by side."""
        return self.channels if self.strides[1] == 1 else 1

    def gather(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr], first: Expr, pixels: int) -> None:
        """The columns of some pixels of a row, row by row."""
        n, y = at
        with loop("ky", 0, self.plane.window.kernel[0]) as ky:
            row = self.plane.source(0, y, ky)
            inside = tirx.all(row >= 0, row < self.plane.size[0]) if self.padded[0] else True
            for columns in self.columns_of(first, pixels):
                with loop("c", 0, self.channels // self.piece) as c:
                    place = columns.place + ky * self.channels + c
                    with when(inside):
                        self.copy(frame, x, (n, c, row), columns, place)
                    if inside is not True:
                        with when(tirx.Not(inside)):
                            self.fill(frame, columns, place, 0, columns.count)

    def columns_of(self, first: Expr, pixels: int) -> Iterator[Columns]:
        """The columns of so many pixels: those that they share, or each tap's for itself."""
        window = self.plane.window
        if self.shared:
            yield Columns(self.plane.source(1, first, 0), 1, self.columns(pixels), 0, self.column)
            return
        with loop("kx", 0, window.kernel[1]) as kx:
            yield Columns(self.plane.source(1, first, kx), window.strides[1], pixels, kx * self.column, self.step)

    def copy(self, frame: Frame, x: Tensor, at: tuple[Expr, ...], columns: Columns, place: Expr) -> None:
        """One row of the columns that are inside of the plane, between padding."""
        low: Expr = 0
        high: Expr = columns.count
        if self.padded[1]:
            step, size = columns.step, self.plane.size[1]
            low = tirx.min(columns.count, tirx.max(0, tirx.floordiv(step - 1 - columns.first, step)))
            high = tirx.max(low, tirx.min(columns.count, tirx.floordiv(size - columns.first + step - 1, step)))
            self.fill(frame, columns, place, 0, low)
            self.fill(frame, columns, place, high, columns.count)
        with when(True if not self.padded[1] else low < high):
            source = x.at(*at, columns.first + low * columns.step)
            target = frame.scratch["columns"].at(place + low * columns.spacing)
            steps = columns.spacing, columns.step * self.strides[3]
            COPY_COLUMNS[self.dtype].run(target, source, high - low, self.piece, *steps)

    def fill(self, frame: Frame, columns: Columns, place: Expr, low: Expr, high: Expr) -> None:
        """Columns of padding."""
        with when(low < high):
            target = frame.scratch["columns"].at(place + low * columns.spacing)
            COPY_COLUMNS[self.dtype].run(
                target, frame.packed["padding"].at(0), high - low, self.piece, columns.spacing, 0
            )


def parts(pixels: int, most: int) -> list[tuple[int, int, int]]:
    """Cut so many pixels into runs (start, count, size) of even sizes, and a last one alone."""
    even = pixels // PIXELS * PIXELS
    return [*runs(even, max(PIXELS, most // PIXELS * PIXELS)), *([(even, 1, 1)] if even < pixels else [])]
