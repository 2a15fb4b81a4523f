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
    at once; where some have no channel left, so many are ``used``, one, and another routine copies it ``alone``. A
    ``table`` [channels or 1, 256] has the elements by bytes of the operand.
    """

    plane: Plane
    row: int
    zero_point: int
    copied: Instruction
    alone: Instruction
    buffer: Tensor
    planes: tuple[int, ...]
    table: Tensor | None = None
    depth: int = 1
    channel: Expr = 0
    used: Expr | None = None

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

    def bring(self, place: Expr, channel: Expr, source: Expr, *numbers: Expr) -> None:
        """Copy rows of a channel, or from that one on, to a place in all planes that are used."""
        tables = [] if self.table is None else [self.table.at(channel if self.table.shape[0] > 1 else 0, 0)]
        sizes = *numbers, *tables
        targets = [self.buffer.at(plane + place) for plane in self.planes]
        all_used = True if self.used is None else self.used == len(self.planes)
        with when(all_used):
            self.copied.run(*targets, source, *sizes)
        if all_used is not True:
            with when(tirx.Not(all_used)):
                self.alone.run(targets[0], source, *sizes)

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

    def fill_lines(self, lines: int, depth: int) -> None:
        """The padding above and below a plane that is in scratch as a whole, where ``depth`` channels take turns."""
        pads, rows = self.plane.window.pads, self.plane.size[0]
        above = max(0, min(pads[0], lines))
        below = max(above, min(pads[0] + rows, lines))
        for start, stop in ((0, above), (below, lines)):
            if start < stop and self.width:
                with loop("slot", 0, len(self.planes)) as slot:
                    place = slot * self.planes[-1] + start * depth * self.row + pads[1]
                    self.fill(place, self.width, (stop - start) * depth)

    def copy(self, x: Tensor, at: tuple[Expr, Expr], top: Expr, first: Expr, last: int, whole: bool) -> None:
        """Rows of scratch from ``first`` to ``last``, which hold those of the padded input from ``top`` on.

        If that is the ``whole`` of it, ``fill_lines`` has filled the padding above and below.
        """
        if not self.width:
            return
        plane, left = self.plane, self.plane.window.pads[1]
        begin = top - plane.window.pads[0]
        low, high = first, last
        if plane.interior(0) != (0, plane.out[0]):
            low, high = tirx.max(first, -begin), tirx.min(last, plane.size[0] - begin)
            for start, stop in () if whole else ((first, tirx.min(low, last)), (tirx.max(high, first), last)):
                with when(start < stop), loop("slot", 0, len(self.planes)) as slot:
                    self.fill(slot * self.planes[-1] + self.place(start) + left, self.width, stop - start)
        by_routine = self.copied.operands["source"] == f"const {x.dtype}*"
        if by_routine and x.strides[2] == plane.size[1] * x.strides[3] and self.width == plane.size[1]:
            with when(low < high):
                source = x.at(*at, begin + low, 0)
                skipped = self.depth * self.row - self.width
                self.bring(self.place(low) + left, at[1], source, x.strides[3], self.width, high - low, skipped)
            return
        if by_routine:
            with loop("line", low, high) as line:
                source = x.at(*at, begin + line, 0)
                self.bring(self.place(line) + left, at[1], source, x.strides[3], self.width, 1, 0)
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
