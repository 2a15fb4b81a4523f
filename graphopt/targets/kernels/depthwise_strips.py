"""Depthwise convolution of 8 bits by strips of rows: as many as scratch holds, of one channel or of some.

The last rows of a strip are the first of the next, and each element is read once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from tvm import tirx

from graphopt.targets.instructions import dsp_depthwise
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.kernels.base import Frame, Scratch, View
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.padded_rows import PaddedRows
from graphopt.targets.schedule import balanced, runs
from graphopt.targets.tir import Expr, Tensor, loop

PIXELS = 4
"""Of a tile, where there is a choice."""
STRIP_BYTES = {1: 1024, 2: 1536}
"""Of the rows of a strip of so many channels, where they are more than one window."""
RESTART = 65
"""About the instructions of a channel in one more strip."""
COPIED_ALONE = 2.8
"""About those of an element that is copied alone, more than half of those of two at once."""
Channel = tuple[Expr, Expr, Expr]
"""A sample, a channel of it, and its place in the group."""


@dataclass(frozen=True)
class DepthwiseStrips(ABC):
    """The loops of a depthwise convolution: channels, strips of rows in scratch, tiles of pixels by a routine.

    In scratch padding is ``zero_point``. The rows of all ``depth`` channels of a window take turns there. So many
    channels as a ``group`` has are copied there at once, one plane behind the other.
    """

    plane: Plane
    view: View
    zero_point: int
    channels: int = field(kw_only=True)
    """Of the result."""
    depth: int = field(default=1, kw_only=True)
    group: int = field(default=1, kw_only=True)
    source: str = field(default="int8", kw_only=True)
    """The dtype of the operand, or that it is read through a table."""
    parts: int | None = field(default=None, kw_only=True)
    """Strips of a plane; as many as it needs if that is None."""

    @property
    def tiles(self) -> list[tuple[int, int, int]]:
        """How a row is cut, (first, count, pixels): each begins at an even element."""
        width = self.plane.out[1]
        full, left = divmod(width, PIXELS)
        if width <= dsp_depthwise.MOST_PIXELS:
            return [(0, 1, width)]
        if left == 1:  # with the pixels of a full one
            full, left = full - 1, PIXELS + 1
        return [(0, full, PIXELS)] * bool(full) + [(full * PIXELS, 1, left)] * bool(left)

    @property
    def pixels(self) -> int:
        return self.tiles[0][2]

    @property
    @abstractmethod
    def row(self) -> int:
        """Elements of a row with its padding, and what a routine reads beyond it."""

    @property
    def line(self) -> int:
        """Elements of the rows of all channels of a window."""
        return self.depth * self.row

    @property
    @abstractmethod
    def words(self) -> int:
        """Of what a routine needs of a channel."""

    @property
    @abstractmethod
    def copied(self) -> Instruction:
        """The routine that copies rows into scratch."""

    @property
    def copied_alone(self) -> Instruction:
        """The routine that copies those of a channel that is left over."""
        return self.copied

    @property
    def dtype(self) -> str:
        """Of elements in scratch."""
        return next(iter(self.copied.operands.values())).removesuffix("*")

    @abstractmethod
    def routine(self, pixels: int) -> Instruction:
        """The routine of a tile."""

    @abstractmethod
    def gather_taps(self, frame: Frame, c: Expr, place: Expr) -> None:
        """What a routine needs of a channel, from a place on: its bias, its weights and its scaling."""

    @property
    def overlap(self) -> int:
        """The rows that two strips share."""
        return max(0, self.plane.window.extent[0] - self.plane.window.strides[0])

    @property
    def strip(self) -> int:
        """Rows of the result in a strip."""
        if self.parts is not None:
            return -(-self.plane.out[0] // self.parts)
        rows = STRIP_BYTES[self.group] // (np.dtype(self.dtype).itemsize * self.group * self.line) - self.overlap
        most = max(1, rows // self.plane.window.strides[0])
        return balanced(self.plane.out[0], min(most, self.plane.out[0]))

    @property
    def strips(self) -> int:
        return -(-self.plane.out[0] // self.strip)

    @property
    def effort(self) -> float:
        """About the instructions that strips, and their copies, take."""
        copied = COPIED_ALONE * self.plane.size[0] * self.plane.size[1] / self.group
        return self.channels * (RESTART * self.strips + copied)

    def kept(self, first: Expr) -> Expr:
        """The rows that a strip, from this row of the result on, has of the one before."""
        return 0 if self.strip == self.plane.out[0] else tirx.Select(first > 0, self.overlap, 0)

    def rows_for(self, strip: int) -> int:
        """Rows of the input that so many rows of the result need."""
        return (strip - 1) * self.plane.window.strides[0] + self.plane.window.extent[0]

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {"taps": Scratch("int32", self.group * self.words), **self.scratch_of_rows}

    @property
    def scratch_of_rows(self) -> dict[str, Scratch]:
        return {"rows": Scratch(self.dtype, self.group * self.rows_of_channel)}

    @property
    def rows_of_channel(self) -> int:
        """Elements of the rows that windows of one strip take."""
        return self.rows_for(self.strip) * self.line

    def padded_rows(self, frame: Frame) -> PaddedRows:
        """The rows in scratch, with their padding."""
        planes = tuple(slot * self.rows_of_channel for slot in range(self.group))
        routines = self.copied, self.copied_alone
        table = frame.packed.get("table")
        rows = PaddedRows(self.plane, self.row, self.zero_point, *routines, frame.scratch["rows"], planes, table)
        rows.fill_columns(self.group * self.rows_for(self.strip) * self.depth)
        if self.strips == 1:
            rows.fill_lines(self.rows_for(self.strip), self.depth)
        return rows

    def taps(self, frame: Frame, at: Channel) -> Expr:
        """A pointer to what a routine needs of a channel."""
        return frame.scratch["taps"].at(at[2] * self.words)

    def emit(self, frame: Frame) -> None:
        x, y = self.view(frame.tensors[frame.task.inputs[0]]), self.view(frame.out)
        assert x is not None and y is not None
        rows = self.padded_rows(frame)
        channels = x.shape[1]
        with loop("n", 0, x.shape[0]) as n, loop("c", 0, -(-channels // self.group)) as block:
            c = block * self.group
            slots = tirx.min(self.group, channels - c) if channels % self.group else self.group
            rows = replace(rows, used=slots)
            with loop("slot", 0, slots) as slot:
                self.gather_taps(frame, c + slot, slot * self.words)
            for start, count, size in runs(self.plane.out[0], self.strip):
                with loop("strip", 0, count) as i:
                    first = start + i * size
                    top = first * self.plane.window.strides[0]
                    rows.copy(x, (n, c), top, self.kept(first), self.rows_for(size), self.strips == 1)
                    with loop("slot", 0, slots) as slot:
                        self.emit_strip(frame, y, (n, c + slot, slot), first, size)
                    if self.strip < self.plane.out[0]:
                        rows.move_up(self.overlap, size * self.plane.window.strides[0])

    def emit_strip(self, frame: Frame, y: Tensor, at: Channel, first: Expr, size: int) -> None:
        """Rows of the result from ``first`` on, whose windows are in scratch."""
        for start, count, pixels in self.tiles:
            if size >= count:  # a routine goes down the rows, or along them, whichever are more
                with loop("tile", 0, count) as tile:
                    column = start + tile * pixels
                    down = self.plane.window.strides[0] * self.line, y.strides[2], size
                    self.run(frame, y, at, (first, 0, column), pixels, down)
            else:
                with loop("y", 0, size) as line:
                    along = pixels * self.plane.window.strides[1], pixels * y.strides[3], count
                    self.run(frame, y, at, (first, line, start), pixels, along)

    def run(
        self,
        frame: Frame,
        y: Tensor,
        at: Channel,
        place: tuple[Expr, Expr, Expr],
        pixels: int,
        repeat: tuple[int, int, int],
    ) -> None:
        """The routine, from a ``place`` on: the first line of the strip, that of the tile in the strip, and its column.

        ``repeat``: how far in the rows and in the result, how often.
        """
        (n, c, slot), (first, line, column) = at, place
        strides, dilations = self.plane.window.strides, self.plane.window.dilations
        begin = slot * self.rows_of_channel + line * strides[0] * self.line + column * strides[1]
        result = y.at(n, c, first + line, column)
        rows, taps = frame.scratch["rows"].at(begin), self.taps(frame, at)
        self.routine(pixels).run(rows, taps, result, y.strides[3], dilations[0] * self.row, *repeat)


StripsT = TypeVar("StripsT", bound=DepthwiseStrips)


def in_strips(wholes: Sequence[StripsT]) -> list[StripsT]:
    """Some forms, and the same in ever more strips."""
    forms = list(wholes)
    for whole in wholes:
        rows = whole.plane.out[0]
        forms += [replace(whole, parts=-(-rows // height)) for height in range(whole.strip - 1, 0, -1)]
    return forms
