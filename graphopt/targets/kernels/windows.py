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

    def ordered(self, weight: Array, x: Tensor) -> Array:
        """Weights [o, c, kh, kw] as [o, depth], in the order of elements in a window."""

    def scratch(self, x: Tensor) -> Mapping[str, Scratch]: ...

    def packed(self, x: Tensor) -> Mapping[str, Array]:
        """Constants that it reads itself."""

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        """In which order the operand is read against the writes of the result.

        ``last`` channels are written at last, after windows were read again; None if windows are read before all writes,
        of up to ``most`` pixels.
        """

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        """Loop over all pixels of a sample, up to ``most`` at once."""


@dataclass(frozen=True)
class ExpandedWindows:
    """Windows over a plane with ``channels``, by rows, columns and channels; padding is the zero point.

    Runs of whole blocks are expanded where they stand; other windows are first gathered into a line of bytes.
    """

    plane: Plane
    channels: int
    zero_point: int

    @property
    def pixels(self) -> int:
        return 1 if self.plane.out == (1, 1) else PIXELS

    @property
    def depth(self) -> int:
        return int(np.prod(self.plane.window.kernel)) * self.channels

    def ordered(self, weight: Array, x: Tensor) -> Array:
        return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)

    def packed(self, x: Tensor) -> Mapping[str, Array]:
        return {}

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        return pixel_reads(task, self.plane, view, self.pixels)

    @property
    def step(self) -> int:
        """Words from a block to the next of the same pixel."""
        return WORDS * self.pixels

    def in_blocks(self, x: Tensor) -> bool:
        """Whether each tap is so many blocks side by side."""
        return x.strides[1] == 1 and self.channels % BLOCK == 0

    def scratch(self, x: Tensor) -> Mapping[str, Scratch]:
        blocks = -(-self.depth // BLOCK)
        line = {} if self.in_blocks(x) else {"line": Scratch("int8", blocks * BLOCK)}
        return {**line, "window": Scratch("int32", blocks * self.step)}

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
        if "line" in frame.scratch:
            line = frame.scratch["line"]
            for i in range(self.depth, line.shape[0]):
                line.store(Point((i,)), tirx.const(0, "int8"))

    def write(self, frame: Frame, x: Tensor, n: Expr, at: Position, slot: Expr) -> None:
        """The window of a pixel, as that of so many pixels side by side."""
        if self.in_blocks(x):
            Expansion(self, frame, x, n, at, slot * WORDS).write()
            return
        line = frame.scratch["line"]
        self.gather(line, x, n, at)
        EXPAND_WORDS.run(frame.scratch["window"].at(slot * WORDS), line.at(0), line.shape[0] // BLOCK, self.step)

    def gather(self, line: Tensor, x: Tensor, n: Expr, at: Position) -> None:
        rows, columns = self.plane.window.kernel
        padding = tirx.const(self.zero_point, "int8")
        with loop("ky", 0, rows) as ky, loop("kx", 0, columns) as kx:
            row, column = self.plane.source(0, at[0], ky), self.plane.source(1, at[1], kx)
            inside = self.inside(row, column)
            with loop("c", 0, self.channels) as c:
                element = x.load(Point((n, c, row, column)))
                value = element if inside is True else tirx.if_then_else(inside, element, padding)
                line.store(Point(((ky * columns + kx) * self.channels + c,)), value)

    def inside(self, row: Expr, column: Expr) -> Expr:
        """Whether a position is inside of the plane; True where all are."""
        tests: list[Expr] = []
        for axis, at in enumerate((row, column)):
            if self.plane.interior(axis) != (0, self.plane.out[axis]):
                tests.append(tirx.all(at >= 0, at < self.plane.size[axis]))
        return tirx.all(*tests) if tests else True


@dataclass(frozen=True)
class Expansion:
    """One window of whole blocks; ``offset`` is where its first word goes."""

    windows: ExpandedWindows
    frame: Frame
    x: Tensor
    n: Expr
    at: Position
    offset: Expr

    def write(self) -> None:
        plane, windows = self.windows.plane, self.windows
        with loop("ky", 0, plane.window.kernel[0]) as ky:
            row = plane.source(0, self.at[0], ky)
            inside = windows.inside(row, 0) if plane.interior(0) != (0, plane.out[0]) else True
            with when(inside):
                self.write_row(ky, row)
            if inside is not True:
                with when(tirx.Not(inside)):
                    self.fill(ky, 0, plane.window.kernel[1])

    def write_row(self, ky: Expr, row: Expr) -> None:
        """Of taps side by side, those inside of the plane as one run, between padding."""
        plane, count = self.windows.plane, self.windows.plane.window.kernel[1]
        if plane.window.dilations[1] == 1 or count == 1:
            low, high = plane.taps(1, self.at[1])
            if (low, high) != (0, count):
                self.fill(ky, 0, low)
                self.fill(ky, high, count)
            self.expand(ky, low, high - low, row)
            return
        with loop("kx", 0, count) as kx:
            column = plane.source(1, self.at[1], kx)
            inside = tirx.all(column >= 0, column < plane.size[1])
            with when(inside):
                self.expand(ky, kx, 1, row)
            with when(tirx.Not(inside)):
                self.fill(ky, kx, kx + 1)

    def expand(self, ky: Expr, kx: Expr, taps: Expr, row: Expr) -> None:
        column = self.windows.plane.source(1, self.at[1], kx)
        source = self.x.at(self.n, 0, row, column)
        blocks = self.windows.channels // BLOCK
        window = self.frame.scratch["window"].at(self.place(ky, kx))
        EXPAND_WORDS.run(window, source, taps * blocks, self.windows.step)

    def fill(self, ky: Expr, low: Expr, high: Expr) -> None:
        """Taps of padding."""
        blocks = self.windows.channels // BLOCK
        words = expanded(np.full(BLOCK, self.windows.zero_point, np.int8))[0]
        with loop("i", low * blocks, high * blocks) as i:
            place = self.place(ky, 0) + i * self.windows.step
            for word in range(WORDS):
                self.frame.scratch["window"].store(Point((place + word,)), tirx.const(int(words[word]), "int32"))

    def place(self, ky: Expr, kx: Expr) -> Expr:
        windows = self.windows
        tap = ky * windows.plane.window.kernel[1] + kx
        return self.offset + tap * (windows.channels // BLOCK * windows.step)
