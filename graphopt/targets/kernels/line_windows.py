"""Expanded windows that are first gathered into lines, run by run: of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tvm import tirx

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.pixels import FLIP_RUNS
from graphopt.targets.instructions.portable import COPY_RUNS
from graphopt.targets.instructions.products import BLOCK
from graphopt.targets.kernels.base import Frame, Scratch
from graphopt.targets.kernels.expanded import SeparateWindows
from graphopt.targets.kernels.windows import Position
from graphopt.targets.tir import Expr, Point, Tensor, loop, when


class LineWindows(SeparateWindows):
    """Windows that are first gathered into a line each.

    A window is *runs* of taps that stand side by side: its rows, each with all channels, or where channels stand apart,
    the rows of each channel.
    """

    copied: ClassVar[Instruction] = COPY_RUNS

    @property
    def by_channel(self) -> bool:
        """Whether the rows of a channel are runs of their own."""
        return self.strides[1] != 1 and self.channels > 1

    @property
    def unit(self) -> int:
        """Elements of a tap in a run."""
        return 1 if self.by_channel else self.channels

    @property
    def side_by_side(self) -> bool:
        """Whether the taps of a run are one piece of memory."""
        return self.plane.window.kernel[1] == 1 or (
            self.plane.window.dilations[1] == 1 and self.strides[3] == self.unit
        )

    def in_order(self, weight: Array) -> Array:
        return weight.reshape(len(weight), -1) if self.by_channel else super().in_order(weight)

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {"line": Scratch("int8", self.pixels * self.length), **super().scratch}

    @property
    def length(self) -> int:
        return self.blocks * BLOCK

    def prepare(self, frame: Frame) -> None:
        for slot in range(self.pixels):
            for i in range(self.depth, self.length):
                frame.scratch["line"].store(Point((slot * self.length + i,)), tirx.const(0, "int8"))

    def source(self, frame: Frame, x: Tensor, n: Expr, at: Position, slot: int) -> Expr:
        WindowRuns(self, frame.scratch["line"], slot * self.length, x, n, at).write()
        return frame.scratch["line"].at(slot * self.length)


class LinesOfBytes(LineWindows):
    """Windows of elements without a sign, which are made int8 on the way into lines: each is less by 128."""

    copied = FLIP_RUNS


@dataclass(frozen=True)
class WindowRuns:
    """The runs of one window of x, at the pixel ``at``, into a line from a place on."""

    windows: LineWindows
    line: Tensor
    place: Expr
    x: Tensor
    n: Expr
    at: Position

    def write(self) -> None:
        plane = self.windows.plane
        corner = [plane.source(axis, self.at[axis], 0) for axis in (0, 1)]
        ends = [plane.source(axis, self.at[axis], plane.window.kernel[axis] - 1) for axis in (0, 1)]
        padded = [axis for axis in (0, 1) if plane.interior(axis) != (0, plane.out[axis])]
        tests = [t for axis in padded for t in (corner[axis] >= 0, ends[axis] < plane.size[axis])]
        if not self.windows.side_by_side:
            self.write_runs()
            return
        inside = tirx.all(*tests) if tests else True
        with when(inside):
            self.copy_whole(corner)
        if inside is not True:
            with when(tirx.Not(inside)):
                self.write_runs()

    def copy_whole(self, corner: list[Expr]) -> None:
        """All runs of a window that is inside of the plane, or of a channel of it."""
        rows, columns = self.windows.plane.window.kernel
        step = self.windows.plane.window.dilations[0] * self.x.strides[2]
        length = columns * self.windows.unit
        with loop("c", 0, self.windows.channels if self.windows.by_channel else 1) as c:
            source = self.x.at(self.n, c, *corner)
            self.windows.copied.run(self.line.at(self.place + c * (rows * length)), source, length, rows, step)

    def write_runs(self) -> None:
        plane = self.windows.plane
        rows, columns = plane.window.kernel
        padded = plane.interior(0) != (0, plane.out[0])
        with loop("c", 0, self.windows.channels if self.windows.by_channel else 1) as c, loop("ky", 0, rows) as ky:
            row = plane.source(0, self.at[0], ky)
            tap = (c * rows + ky) * columns
            inside = tirx.all(row >= 0, row < plane.size[0]) if padded else True
            with when(inside):
                self.write_run(tap, c, row)
            if inside is not True:
                with when(tirx.Not(inside)):
                    self.fill(tap, 0, columns)

    def write_run(self, tap: Expr, c: Expr, row: Expr) -> None:
        """Of taps side by side, those inside of the plane as one piece, between padding; of others each for itself."""
        plane, count = self.windows.plane, self.windows.plane.window.kernel[1]
        if self.windows.side_by_side:
            low, high = plane.taps(1, self.at[1])
            if (low, high) != (0, count):
                low = tirx.min(low, count)  # a window may be outside as a whole
                high = tirx.max(low, high)
                self.fill(tap, 0, low)
                self.fill(tap, high, count)
            self.copy(tap, c, row, low, high - low)
            return
        padded = plane.interior(1) != (0, plane.out[1])
        with loop("kx", 0, count) as kx:
            column = plane.source(1, self.at[1], kx)
            inside = tirx.all(column >= 0, column < plane.size[1]) if padded else True
            with when(inside):
                self.copy(tap, c, row, kx, 1)
            if inside is not True:
                with when(tirx.Not(inside)):
                    self.fill(tap, kx, kx + 1)

    def copy(self, tap: Expr, c: Expr, row: Expr, kx: Expr, taps: Expr) -> None:
        column = self.windows.plane.source(1, self.at[1], kx)
        unit = self.windows.unit
        target = self.line.at(self.place + (tap + kx) * unit)
        self.windows.copied.run(target, self.x.at(self.n, c, row, column), taps * unit, 1, 0)

    def fill(self, tap: Expr, low: Expr, high: Expr) -> None:
        unit = self.windows.unit
        with loop("i", 0, (high - low) * unit) as i:
            at = Point((self.place + (tap + low) * unit + i,))
            self.line.store(at, tirx.const(self.windows.zero_point, "int8"))
