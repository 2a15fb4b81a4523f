"""Expanded windows of pairs of pixels, each pair by itself from the operand: the least scratch.

Where a window goes over the padding, its taps are those nearest to them in the plane, and then overwritten.
"""

from __future__ import annotations

from tvm import tirx

from graphopt.targets.instructions.products import BLOCK, PIXELS
from graphopt.targets.kernels.base import Frame
from graphopt.targets.kernels.expanded import WORDS, ExpandedWindows, padding_words
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.windows import Compute, Tile
from graphopt.targets.tir import Expr, Point, Tensor, loop, when

CALL = 60
"""About the instructions of a call of a routine, with those that find its operands."""
EXPANDED = 11.5
"""About those of a block of both pixels."""


def touches_itself(plane: Plane) -> bool:
    """Whether every window has some of the plane in it."""
    window = plane.window
    pads, ends = window.pads[:2], [plane.source(axis, plane.out[axis] - 1, 0) for axis in (0, 1)]
    return all(pad < extent for pad, extent in zip(pads, window.extent, strict=True)) and all(
        end < size for end, size in zip(ends, plane.size, strict=True)
    )


class PairWindows(ExpandedWindows):
    """Windows whose taps are whole blocks, of an even number of pixels a row: a row of taps is expanded at once."""

    @property
    def tap(self) -> int:
        """The blocks of a tap."""
        return self.channels // BLOCK

    @property
    def effort(self) -> float:
        pairs = self.plane.out[0] * self.plane.out[1] / PIXELS
        return pairs * (CALL * self.plane.window.kernel[0] + EXPANDED * self.blocks)

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        window = frame.scratch["window"].at(0)
        with loop("y", 0, self.plane.out[0]) as y, loop("tile", 0, self.plane.out[1] // PIXELS) as tile:
            with loop("ky", 0, self.plane.window.kernel[0]) as ky:
                self.expand_taps(frame, x, (n, y, tile * PIXELS), ky)
            compute(Tile(PIXELS, lambda slot: (y, tile * PIXELS + slot), window))

    def expand_taps(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr, Expr], ky: Expr) -> None:
        """A row of taps of two pixels side by side."""
        n, y, column = at
        plane, taps = self.plane, self.plane.window.kernel[1]
        row, first = plane.source(0, y, ky), plane.source(1, column, 0)
        tests = []
        if plane.interior(0) != (0, plane.out[0]):
            tests += [row >= 0, row < plane.size[0]]
        if plane.interior(1) != (0, plane.out[1]):
            tests += [first >= 0, plane.source(1, column + 1, taps - 1) < plane.size[1]]
        with when(tirx.all(*tests) if tests else True):
            self.expand(frame, x, (n, row, first), ky * taps, taps)
        if tests:
            with when(tirx.Not(tirx.all(*tests))), loop("kx", 0, taps) as kx:
                self.expand(frame, x, (n, row, first + kx), ky * taps + kx, 1)
                self.fill(frame, (row, first + kx), ky * taps + kx)

    def expand(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr, Expr], tap: Expr, taps: int) -> None:
        """So many taps side by side of both pixels; a single one is taken from within the plane."""
        n, row, column = at
        stride = self.plane.window.strides[1]
        places = [(row, column), (row, column + stride)]
        if taps == 1:
            places = [(self.inside(0, row), self.inside(1, each)) for _, each in places]
        target = frame.scratch["window"].at(tap * (self.tap * WORDS * PIXELS))
        self.form.elements[PIXELS].run(target, *(x.at(n, 0, *place) for place in places), taps * self.tap)

    def inside(self, axis: int, place: Expr) -> Expr:
        return tirx.max(0, tirx.min(place, self.plane.size[axis] - 1))

    def fill(self, frame: Frame, at: tuple[Expr, Expr], tap: Expr) -> None:
        """The padding of a tap."""
        (row, column), plane, window = at, self.plane, frame.scratch["window"]
        words = padding_words(self.form, self.zero_point)
        for slot in range(PIXELS):
            place = column + slot * plane.window.strides[1]
            outside = tirx.any(row < 0, row >= plane.size[0], place < 0, place >= plane.size[1])
            with when(outside), loop("i", 0, self.tap) as i:
                for word in range(WORDS):
                    index = ((tap * self.tap + i) * PIXELS + slot) * WORDS + word
                    window.store(Point((index,)), tirx.const(words[word], "int32"))
