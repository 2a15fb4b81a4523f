"""Rows of channels in scratch, with their padding: copied there by a routine, and moved up from strip to strip."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm import tirx

from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.portable import (
    FILL_ROWS,
    MOVE_ROWS,
)
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.tir import Expr, Point, Tensor, cast, loop, when


@dataclass(frozen=True)
class PaddedRows:
    """Rows of one channel in scratch, ``row`` elements each, with their padding; a routine ``copied`` them there.

    If ``depth`` channels take turns, it is the rows of one of them. There are as many ``planes`` as channels are copied
    at once.
    """

    plane: Plane
    row: int
    zero_point: int
    copied: Instruction
    buffer: Tensor
    planes: tuple[int, ...]
    depth: int = 1
    channel: Expr = 0

    def of(self, channel: Expr, depth: int) -> PaddedRows:
        """The rows of a channel among so many."""
        return replace(self, channel=channel, depth=depth)

    def place(self, line: Expr) -> Expr:
        """Where a row begins."""
        return (line * self.depth + self.channel) * self.row

    @property
    def width(self) -> int:
        """Elements of the input in a row."""
        return max(0, min(self.plane.size[1], self.row - self.plane.window.pads[1]))

    def targets(self, place: Expr) -> list[Expr]:
        """Pointers to a place in all planes."""
        return [self.buffer.at(plane + place) for plane in self.planes]

    def fill(self, place: Expr, width: Expr, lines: Expr) -> None:
        """Padding of so many rows, from a place in the first on."""
        pitch = self.depth * self.row
        FILL_ROWS[self.buffer.dtype].run(self.buffer.at(place), self.zero_point, width, lines, pitch)

    def fill_columns(self, lines: int) -> None:
        """The padding at the ends of rows, which stays."""
        left = min(self.plane.window.pads[1], self.row)  # windows may be in the padding as a whole
        for first, last in ((0, left), (left + self.width, self.row)):
            if first < last:
                self.fill(first, last - first, lines)

    def copy(self, x: Tensor, at: tuple[Expr, Expr], top: Expr, first: Expr, last: int) -> None:
        """Rows of scratch from ``first`` to ``last``, which hold those of the padded input from ``top`` on."""
        if not self.width:
            return
        plane, left = self.plane, self.plane.window.pads[1]
        begin = top - plane.window.pads[0]
        low, high = first, last
        if plane.interior(0) != (0, plane.out[0]):
            low, high = tirx.max(first, -begin), tirx.min(last, plane.size[0] - begin)
            for start, stop in ((first, tirx.min(low, last)), (tirx.max(high, first), last)):
                with when(start < stop), loop("slot", 0, len(self.planes)) as slot:
                    self.fill(slot * self.planes[-1] + self.place(start) + left, self.width, stop - start)
        if x.dtype == "int8" and x.strides[2] == plane.size[1] * x.strides[3] and self.width == plane.size[1]:
            with when(low < high):
                source = x.at(*at, begin + low, 0)
                skipped = self.depth * self.row - self.width
                sizes = x.strides[3], self.width, high - low, skipped
                self.copied.run(*self.targets(self.place(low) + left), source, *sizes)
            return
        if x.dtype == "int8":
            with loop("line", low, high) as line:
                targets = self.targets(self.place(line) + left)
                self.copied.run(*targets, x.at(*at, begin + line, 0), x.strides[3], self.width, 1, 0)
            return
        with loop("line", low, high) as line, loop("i", 0, self.width) as i:
            element = cast(x.load(Point((*at, begin + line, i))), "int16")
            self.buffer.store(Point((self.place(line) + left + i,)), element)

    def move_up(self, lines: int, by: int) -> None:
        """The last rows of a strip to the top, from ``by`` rows below."""
        if lines:
            with loop("slot", 0, len(self.planes)) as slot:
                place = slot * self.planes[-1]
                source = self.buffer.at(place + by * self.row)
                MOVE_ROWS[self.buffer.dtype].run(self.buffer.at(place), source, lines * self.row)
