"""The loops of a matrix product of two run-time operands: tiles of registers over blocks of packed columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from tvm import tirx

from graphopt.targets.kernels.base import Frame, Scratch
from graphopt.targets.kernels.interleaved import at_once, finish
from graphopt.targets.kernels.product_form import ProductForm
from graphopt.targets.schedule import RegisterTile, Segment, balanced, powers_of_two, runs, spread
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop

Lead = tuple[Expr, ...]
"""The index of one product of a batch."""


@dataclass(frozen=True)
class Operands:
    """What the loops read: left [*outer, rows, depth], right [*batch, depth, columns] or packed; the rest by name."""

    left: Tensor
    right: Tensor
    scratch: Mapping[str, Tensor]
    packed: Mapping[str, Tensor]


@dataclass(frozen=True)
class TiledProduct(ABC):
    """The loops: batch, strip of rows, block of columns, tile of rows; a dtype and its instructions are a subclass."""

    form: ProductForm
    segments: list[Segment]
    tile: RegisterTile

    dtype: ClassVar[str]
    """Of the sums."""

    @property
    @abstractmethod
    def scratch(self) -> dict[str, Scratch]: ...

    @property
    @abstractmethod
    def most_rows(self) -> int:
        """About how many rows use a block of columns before the next one is packed."""

    @abstractmethod
    def pack_rows(self, operands: Operands, lead: Lead, first: Expr, count: int) -> None:
        """Bring the rows of a strip into scratch, unless they are read in place."""

    @abstractmethod
    def pack_columns(self, operands: Operands, lead: Lead, column: Expr, segment: Segment) -> None:
        """Bring a block of columns into scratch, unless it is read in place."""

    @abstractmethod
    def accumulate(self, acc: Locals, operands: Operands, tile: Tile) -> None:
        """Add the products over the whole depth to the sums of a tile, row by row."""

    def start(self, operands: Operands, column: Expr, lanes: int) -> Expr:
        """The first value of the sums of so many columns from one on."""
        return tirx.const(0, self.dtype if lanes == 1 else f"{self.dtype}x{lanes}")

    @property
    def strip(self) -> int:
        """Rows in a strip: whole tiles, about as many in each."""
        tiles = -(-self.form.rows // self.tile.pixels)
        return min(self.form.rows, balanced(tiles, max(1, self.most_rows // self.tile.pixels)) * self.tile.pixels)

    @property
    def width(self) -> int:
        """Columns of the widest block."""
        return max(segment.width for segment in self.segments)

    def there(self, segment: Segment) -> int:
        """The columns of a block that there are."""
        return min(segment.width, self.form.columns - segment.start)

    def operands(self, frame: Frame) -> Operands:
        a, b = (frame.tensors[v] for v in frame.task.inputs)
        left = self.form.left(a, b)
        assert left is not None
        return Operands(left, self.form.right(a, b), frame.scratch, frame.packed)

    def emit(self, frame: Frame) -> None:
        operands = self.operands(frame)
        with ExitStack() as loops:
            lead = tuple(loops.enter_context(loop(f"i{axis}", 0, size)) for axis, size in enumerate(self.form.outer))
            for start, count, size in runs(self.form.rows, self.strip):
                with loop("strip", 0, count) as i:
                    first = start + i * size
                    self.pack_rows(operands, lead, first, size)
                    for segment in self.segments:
                        with loop("block", 0, segment.blocks) as block:
                            column = segment.start + block * segment.width
                            self.pack_columns(operands, lead, column, segment)
                            for at, tiles, rows in spread(size, self.tile.pixels):
                                with loop("tile", 0, tiles) as t:
                                    tile = Tile(segment, lead, first, at + t * rows, rows, column)
                                    self.emit_tile(frame, operands, tile)

    def emit_tile(self, frame: Frame, operands: Operands, tile: Tile) -> None:
        """Sum, apply the epilogue, store."""
        segment, lanes = tile.segment, tile.segment.lanes
        acc = Locals("acc", tile.rows * segment.vectors, self.dtype, lanes)
        for v in range(segment.vectors):
            start = self.start(operands, tile.column + v * lanes, lanes)
            for r in range(tile.rows):
                acc[r * segment.vectors + v] = start
        self.accumulate(acc, operands, tile)
        out, epilogue = self.form.result(frame.out), frame.epilogue(self.form.result)
        assert out is not None
        sums = []
        for r in range(tile.rows):
            for v in range(segment.vectors):
                whole = acc[r * segment.vectors + v]
                for start, size in powers_of_two(max(0, min(lanes, self.there(segment) - v * lanes))):
                    part = whole if size == lanes else tirx.Shuffle([whole], list(range(start, start + size)))
                    index = (*tile.lead, tile.row + r, tile.column + v * lanes + start)
                    sums.append((part, Point(index, len(tile.lead) + 1, size)))
        finish(sums, at_once(frame.task), epilogue, out.store)


@dataclass(frozen=True)
class Tile:
    """So many rows, from ``at`` on in the strip that begins at row ``first``, by a block of columns."""

    segment: Segment
    lead: Lead
    first: Expr
    at: Expr
    rows: int
    column: Expr

    @property
    def row(self) -> Expr:
        """The first row, of all."""
        return self.first + self.at
