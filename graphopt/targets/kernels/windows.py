"""Windows of pixels, as the routines take them that sum their products: what all have, and those that are expanded.

The routines of the DSP extension take windows that were expanded into scratch, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op, Value
from graphopt.targets.instructions.portable import COPY_RUNS
from graphopt.targets.instructions.products import BLOCK, EXPAND_WORDS, PIXELS, expanded
from graphopt.targets.kernels.base import Frame, Scratch, Task, View
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.order import pixel_reads
from graphopt.targets.plan import Overlap
from graphopt.targets.tir import Expr, Point, Tensor, loop, when

WORDS = 2
"""Of a block of expanded elements."""

Position = tuple[Expr, Expr]


@dataclass(frozen=True)
class Tile:
    """So many pixels, where each is, a pointer to the window of the first, and the bytes from one to the next."""

    pixels: int
    at: Callable[[Expr], Position]
    window: Expr
    step: int = 0


Compute = Callable[[Tile], None]
"""What is done with some pixels whose windows are ready."""


class Windows(Protocol):
    """The windows of a plane, as routines take them; ``pixels`` at once, or a multiple, where so many are left."""

    @property
    def pixels(self) -> int: ...

    def in_order(self, weight: Array) -> Array:
        """Weights [o, c, kh, kw] as [o, depth], in the order of a window."""

    @property
    def scratch(self) -> Mapping[str, Scratch]: ...

    @property
    def packed(self) -> Mapping[str, Array]:
        """Constants that are read where windows are gathered."""

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        """In which order the operand is read against the writes of the result.

        ``last`` channels are written at last, after windows were read again; None if windows are read before all
        writes, of up to ``most`` pixels.
        """

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        """Which scratch may lie over the operand, as ``Kernel.over`` has it."""

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        """Loop over all pixels of a sample, up to ``most`` at once."""


@dataclass(frozen=True)
class ExpandedWindows:
    """Windows over a plane of an input x [n, c, h, w], for pixels side by side; padding is the zero point.

    A window is *runs* of taps that stand side by side: its rows, each with all channels, or where channels stand apart,
    the rows of each channel. Runs of whole blocks are expanded where they stand; others are first gathered into a line.
    """

    plane: Plane
    channels: int
    strides: tuple[int, ...]
    zero_point: int

    @property
    def pixels(self) -> int:
        return 1 if self.plane.out == (1, 1) else PIXELS

    @property
    def by_channel(self) -> bool:
        """Whether the rows of a channel are runs of their own."""
        return self.strides[1] != 1 and self.channels > 1

    @property
    def unit(self) -> int:
        """Elements of a tap in a run."""
        return 1 if self.by_channel else self.channels

    @property
    def depth(self) -> int:
        return int(np.prod(self.plane.window.kernel)) * self.channels

    @property
    def step(self) -> int:
        """Words from a block to the next of the same pixel."""
        return WORDS * self.pixels

    @property
    def in_blocks(self) -> bool:
        return self.unit % BLOCK == 0

    @property
    def side_by_side(self) -> bool:
        """Whether the taps of a run are one piece of memory."""
        return self.plane.window.kernel[1] == 1 or (
            self.plane.window.dilations[1] == 1 and self.strides[3] == self.unit
        )

    def in_order(self, weight: Array) -> Array:
        return (weight if self.by_channel else weight.transpose(0, 2, 3, 1)).reshape(len(weight), -1)

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        blocks = -(-self.depth // BLOCK)
        line = {} if self.in_blocks else {"line": Scratch("int8", blocks * BLOCK)}
        return {**line, "window": Scratch("int32", blocks * self.step)}

    @property
    def packed(self) -> Mapping[str, Array]:
        return {}

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        return pixel_reads(task, self.plane, view, self.pixels)

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        """The only window may lie over the operand, if it is expanded as a whole: a word is read, then two are written.

        The last word is read where the last two are written, and those before it further above.
        """
        alone = self.plane.size == self.plane.out == (1, 1) and self.in_blocks and self.strides[1] == 1
        x = task.inputs[0]
        if not alone or x in task.region.epilogue_operands or x.type.nbytes != self.depth:
            return {}
        return {"window": {x: Overlap(self.depth)}}

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        self.prepare(frame)
        total, window = self.plane.out[0] * self.plane.out[1], frame.scratch["window"].at(0)
        with loop("tile", 0, total // self.pixels) as tile:
            with loop("slot", 0, self.pixels) as slot:
                self.write(frame, x, n, self.position(tile * self.pixels + slot), slot)
            compute(Tile(self.pixels, lambda slot: self.position(tile * self.pixels + slot), window))
        if total % self.pixels:
            self.write(frame, x, n, self.position(total - 1), 0)
            compute(Tile(1, lambda _: self.position(total - 1), window))

    def position(self, pixel: Expr) -> Position:
        width = self.plane.out[1]
        return tirx.floordiv(pixel, width), tirx.floormod(pixel, width)

    def prepare(self, frame: Frame) -> None:
        """Set what no window writes but the routines read."""
        if not self.in_blocks:
            line = frame.scratch["line"]
            for i in range(self.depth, line.shape[0]):
                line.store(Point((i,)), tirx.const(0, "int8"))

    def write(self, frame: Frame, x: Tensor, n: Expr, at: Position, slot: Expr) -> None:
        """The window of a pixel, into its slot of those side by side."""
        window = frame.scratch["window"]
        if self.in_blocks:
            WindowRuns(self, Blocks(self, window, slot * WORDS), x, n, at).write()
            return
        line = frame.scratch["line"]
        WindowRuns(self, Line(self, line), x, n, at).write()
        EXPAND_WORDS.run(window.at(slot * WORDS), line.at(0), line.shape[0] // BLOCK, self.step)


@dataclass(frozen=True)
class Blocks:
    """Where the taps of a window go as expanded blocks, from the word ``offset`` on."""

    windows: ExpandedWindows
    window: Tensor
    offset: Expr

    def copy(self, tap: Expr, source: Expr, taps: Expr) -> None:
        blocks = self.windows.unit // BLOCK
        EXPAND_WORDS.run(self.window.at(self.place(tap)), source, taps * blocks, self.windows.step)

    def fill(self, tap: Expr, low: Expr, high: Expr) -> None:
        blocks = self.windows.unit // BLOCK
        words = expanded(np.full(BLOCK, self.windows.zero_point, np.int8))[0]
        with loop("i", 0, (high - low) * blocks) as i:
            place = self.place(tap + low) + i * self.windows.step
            for word in range(WORDS):
                self.window.store(Point((place + word,)), tirx.const(int(words[word]), "int32"))

    def place(self, tap: Expr) -> Expr:
        return self.offset + tap * (self.windows.unit // BLOCK * self.windows.step)


@dataclass(frozen=True)
class Line:
    """Where the taps of a window go as they are."""

    windows: ExpandedWindows
    line: Tensor

    def copy(self, tap: Expr, source: Expr, taps: Expr) -> None:
        COPY_RUNS.run(self.line.at(tap * self.windows.unit), source, taps * self.windows.unit, 1, 0)

    def fill(self, tap: Expr, low: Expr, high: Expr) -> None:
        unit = self.windows.unit
        with loop("i", 0, (high - low) * unit) as i:
            self.line.store(Point(((tap + low) * unit + i,)), tirx.const(self.windows.zero_point, "int8"))


@dataclass(frozen=True)
class WindowRuns:
    """The runs of one window of x, at the pixel ``at``."""

    windows: ExpandedWindows
    target: Blocks | Line
    x: Tensor
    n: Expr
    at: Position

    def write(self) -> None:
        plane = self.windows.plane
        corner = [plane.source(axis, self.at[axis], 0) for axis in (0, 1)]
        ends = [plane.source(axis, self.at[axis], plane.window.kernel[axis] - 1) for axis in (0, 1)]
        padded = [axis for axis in (0, 1) if plane.interior(axis) != (0, plane.out[axis])]
        tests = [t for axis in padded for t in (corner[axis] >= 0, ends[axis] < plane.size[axis])]
        target = self.target
        if not isinstance(target, Line) or not self.windows.side_by_side:
            self.write_runs()
            return
        inside = tirx.all(*tests) if tests else True
        with when(inside):
            self.copy_whole(target, corner)
        if inside is not True:
            with when(tirx.Not(inside)):
                self.write_runs()

    def copy_whole(self, target: Line, corner: list[Expr]) -> None:
        """All runs of a window that is inside of the plane, or of a channel of it."""
        rows, columns = self.windows.plane.window.kernel
        step = self.windows.plane.window.dilations[0] * self.x.strides[2]
        length = columns * self.windows.unit
        with loop("c", 0, self.windows.channels if self.windows.by_channel else 1) as c:
            source = self.x.at(self.n, c, *corner)
            COPY_RUNS.run(target.line.at(c * (rows * length)), source, length, rows, step)

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
                    self.target.fill(tap, 0, columns)

    def write_run(self, tap: Expr, c: Expr, row: Expr) -> None:
        """Of taps side by side, those inside of the plane as one piece, between padding; of others each for itself."""
        plane, count = self.windows.plane, self.windows.plane.window.kernel[1]
        if self.windows.side_by_side:
            low, high = plane.taps(1, self.at[1])
            if (low, high) != (0, count):
                low = tirx.min(low, count)  # a window may be outside as a whole
                high = tirx.max(low, high)
                self.target.fill(tap, 0, low)
                self.target.fill(tap, high, count)
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
                    self.target.fill(tap, kx, kx + 1)

    def copy(self, tap: Expr, c: Expr, row: Expr, kx: Expr, taps: Expr) -> None:
        column = self.windows.plane.source(1, self.at[1], kx)
        self.target.copy(tap + kx, self.x.at(self.n, c, row, column), taps)
