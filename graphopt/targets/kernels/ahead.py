"""Weights that are prefetched: those of the next block of columns, while the tiles of a block are computed.

The weights of a large net come from memory or the last cache. They are prefetched evenly: many at once would keep the
loads of the tile itself waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from graphopt.targets.schedule import runs
from graphopt.targets.tir import Expr, loop, prefetch

LINE = 16
"""Numbers of four bytes in a line of a cache."""
FIRST_CACHE, SECOND_CACHE = 1 << 15, 1 << 19
"""Bytes of weights that stay in them."""
MOST_BETWEEN = {16: 1}
"""Rows from a prefetch to the next, by lanes, and for others ``BETWEEN``.

LLVM unrolls a short loop between them, and mixes its rows: for that, tiles of AVX-512 have no registers left.
"""
BETWEEN = 16


@dataclass(frozen=True)
class Ahead:
    """A block of weights is rows of ``width`` numbers of four bytes, by vectors of so many ``lanes``.

    Tiles go through all of its rows, in so many ``parts`` together, and each part prefetches its share. ``following``
    gives the address of a number of the next block, which may be behind the last one; None if all of them are near.
    """

    width: int
    lanes: int
    parts: int
    following: Callable[[Expr], Expr] | None

    @property
    def between(self) -> int:
        """Rows from a prefetch to the next: so that it is of one row, or less."""
        return min(MOST_BETWEEN.get(self.lanes, BETWEEN), 1 << self.parts.bit_length() - 1)

    @property
    def share(self) -> int:
        """The numbers of a prefetch: rather whole lines, so that the last ones come in time."""
        least = -(-self.width * self.between // self.parts)
        return -(-least // LINE) * LINE if 2 * least > LINE else least

    def first(self, part: Expr, rows: int) -> Expr:
        """Where the share of a part of so many rows begins."""
        most = -(-self.width * self.between // self.share)
        if most < self.parts:  # those behind prefetch nothing new
            part = tirx.min(part, most - 1)
        return part * (rows // self.between) * self.share

    def each_row(self, part: Expr, rows: int, body: Callable[[Expr], None]) -> None:
        """Call ``body`` with each of the rows of a part, in loops."""
        if self.following is None:
            with loop("k", 0, rows) as k:
                body(k)
            return
        first = self.first(part, rows)
        for start, count, size in runs(rows, self.between):
            with loop("lines", 0, count) as i:
                if size == self.between:
                    for number in range(0, self.share, LINE):
                        prefetch(self.following(first + i * self.share + number))
                with loop("k", 0, size) as k:
                    body(start + i * size + k)
