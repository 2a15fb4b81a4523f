"""Blocks of columns of a matrix packed side by side, each row of a block after the other, for tiles to read in vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx

from graphopt.targets.schedule import Segment, powers_of_two
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop

BLOCK = 4
"""Lanes of 32 bits that are transposed at once: those of the narrowest vector."""


def transposed(rows: Sequence[Expr], dtype: str, lanes: int) -> list[Expr]:
    """Four vectors of 32 bits a lane, of which each block of four by four is transposed.

    Six shuffles of the smallest kind would do for a block on every machine; here there are eight, two by two.
    """
    blocks = range(0, lanes, BLOCK)

    def shuffled(x: Expr, y: Expr, pattern: Sequence[int]) -> Expr:
        """``pattern`` takes elements 0 to 3 of a block of x, and 4 to 7 of the same of y."""
        return tirx.Shuffle([x, y], [b + i if i < BLOCK else lanes + b + i - BLOCK for b in blocks for i in pattern])

    pairs = Locals("pairs", BLOCK, dtype, lanes)
    for half in range(2):
        for i, pattern in enumerate(((0, 4, 1, 5), (2, 6, 3, 7))):
            pairs[2 * half + i] = shuffled(rows[2 * half], rows[2 * half + 1], pattern)
    patterns = ((0, 1, 4, 5), (2, 3, 6, 7))
    return [shuffled(pairs[i], pairs[2 + i], pattern) for i in range(2) for pattern in patterns]


@dataclass(frozen=True)
class PackedColumns:
    """Blocks of columns of matrices [..., depth, columns]; lanes beyond the last column hold zeros."""

    depth: int
    columns: int

    def width(self, segment: Segment) -> int:
        """The columns of a block that there are."""
        return min(segment.width, self.columns - segment.start)

    def write(self, packed: Tensor, b: Tensor, lead: tuple[Expr, ...], column: Expr, segment: Segment) -> None:
        """Pack the block that begins at a column of the matrix at ``lead``."""
        if b.strides[-2] == 1 != b.strides[-1]:
            for vector in range(segment.vectors):
                self.write_transposed(packed, b, lead, column, segment, vector)
        else:
            with loop("k", 0, self.depth) as k:
                self.write_row(packed, b, (*lead, k, column), segment, 0, segment.width)

    def write_row(
        self, packed: Tensor, b: Tensor, at: tuple[Expr, ...], segment: Segment, first: int, count: int
    ) -> None:
        """So many elements of a row of a block, from the first on."""
        *lead, k, column = at
        there = max(0, min(count, self.width(segment) - first))
        target = k * segment.width + first
        for start, lanes in powers_of_two(there):
            elements = b.load(Point((*lead, k, column + first + start), len(lead) + 1, lanes))
            packed.store(Point((target + start,), 0, lanes), elements)
        for start, lanes in powers_of_two(count - there):
            zero = tirx.const(0, packed.dtype if lanes == 1 else f"{packed.dtype}x{lanes}")
            packed.store(Point((target + there + start,), 0, lanes), zero)

    def write_transposed(
        self, packed: Tensor, b: Tensor, lead: tuple[Expr, ...], column: Expr, segment: Segment, vector: int
    ) -> None:
        """A vector of columns whose elements of one column stand side by side."""
        first, lanes = vector * segment.lanes, segment.lanes
        zero = tirx.const(0, f"{packed.dtype}x{BLOCK}")

        def side_by_side(k: Expr, c: int) -> Expr:
            there = first + c < self.width(segment)
            return b.load(Point((*lead, k, column + first + c), len(lead), BLOCK)) if there else zero

        with loop("k", 0, self.depth // BLOCK) as block:
            rows = Locals("rows", BLOCK, packed.dtype, lanes)
            for i in range(BLOCK):
                parts = [side_by_side(block * BLOCK, i + start) for start in range(0, lanes, BLOCK)]
                rows[i] = tirx.Shuffle(parts, list(range(lanes))) if len(parts) > 1 else parts[0]
            turned = transposed([rows[i] for i in range(BLOCK)], packed.dtype, lanes)
            for i, row in enumerate(turned):
                packed.store(Point(((block * BLOCK + i) * segment.width + first,), 0, lanes), row)
        for k in range(self.depth // BLOCK * BLOCK, self.depth):
            self.write_row(packed, b, (*lead, k, column), segment, first, lanes)
