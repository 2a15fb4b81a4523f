"""Tiles of a float32 product: elements of rows are broadcast, one after the other, to vectors of columns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from tvm import tirx

from graphopt.targets.kernels.tiled_product import Lead, Operands, Tile, TiledProduct
from graphopt.targets.tir import Expr, Locals, Point, loop

STRIP_BYTES = 1 << 18
"""Of the rows of the left operand that use a block of columns before the next one: what the second cache holds."""
LEAST_STRIP = 96
"""Rows in a strip at least, so that a block is brought near for many."""


@dataclass(frozen=True)
class FloatTiles(TiledProduct):
    """Rows are read in place; a subclass says where the vectors of columns are."""

    dtype: ClassVar[str] = "float32"

    @property
    def most_rows(self) -> int:
        return max(LEAST_STRIP, STRIP_BYTES // (4 * self.form.depth))

    def pack_rows(self, operands: Operands, lead: Lead, first: Expr, count: int) -> None:
        """They are read in place."""

    @abstractmethod
    def column(self, operands: Operands, tile: Tile, k: Expr, first: int) -> Expr:
        """A vector of row ``k`` of the right operand, from column ``first`` of the tile on."""

    def accumulate(self, acc: Locals, operands: Operands, tile: Tile) -> None:
        with loop("k", 0, self.form.depth) as k:
            self.add_products(acc, operands, tile, k)

    def add_products(self, acc: Locals, operands: Operands, tile: Tile, k: Expr) -> None:
        """Element ``k`` of each row by each column."""
        lanes, vectors = tile.segment.lanes, tile.segment.vectors
        columns = [self.column(operands, tile, k, v * lanes) for v in range(vectors)]
        for r in range(tile.rows):
            x = operands.left.load(Point((*tile.lead, tile.row + r, k)))
            x = tirx.Broadcast(x, lanes) if lanes > 1 else x
            for v in range(vectors):
                acc[r * vectors + v] = acc[r * vectors + v] + x * columns[v]
