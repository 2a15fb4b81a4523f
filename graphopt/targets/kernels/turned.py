"""Square tiles of vectors, turned in registers: rows become columns.

Elements are first exchanged within groups of 128 bits, whose halves processors interleave in one instruction, then
these groups as wholes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import tirx

from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Locals

GROUP_BYTES = 16


def most_rows(target: Target, dtype: str) -> int:
    """Of a tile: as many as a register has elements, of small ones as many as 128 bits have."""
    size = np.dtype(dtype).itemsize
    return max(GROUP_BYTES // size, 4 * target.lanes // size if size >= 4 else 0)


def turned(rows: Sequence[Expr], dtype: str) -> list[Expr]:
    """The columns of a tile of as many rows as a row has lanes, a power of two."""
    count = len(rows)
    group, vectors = min(count, GROUP_BYTES // np.dtype(dtype).itemsize), list(rows)
    for stage in reversed(range(group.bit_length() - 1)):
        vectors = exchanged(vectors, dtype, 1 << stage, interleaving(count, group))
    for stage in range(group.bit_length() - 1, count.bit_length() - 1):
        vectors = exchanged(vectors, dtype, 1 << stage, swapping(count, 1 << stage))
    return vectors


Pick = tuple[list[int], list[int]]
"""Of two vectors, one behind the other, the lanes of which two others are made."""


def interleaving(count: int, group: int) -> Pick:
    """The lower halves of groups, one lane of each vector in turn, and the upper halves."""
    low, high = (
        [
            other + first + half + i
            for first in range(0, count, group)
            for i in range(group // 2)
            for other in (0, count)
        ]
        for half in (0, group // 2)
    )
    return low, high


def swapping(count: int, size: int) -> Pick:
    """The even blocks of so many lanes of both vectors, and the odd ones."""
    even = [count + lane - size if lane & size else lane for lane in range(count)]
    odd = [count + lane if lane & size else lane + size for lane in range(count)]
    return even, odd


def exchanged(vectors: Sequence[Expr], dtype: str, distance: int, pick: Pick) -> list[Expr]:
    """Vectors so far from each other in pairs, each pair made anew."""
    made = Locals("tile", len(vectors), dtype, len(vectors))
    for first in range(len(vectors)):
        if not first & distance:
            pair = [vectors[first], vectors[first + distance]]
            for place, lanes in zip((first, first + distance), pick, strict=True):
                made[place] = tirx.Shuffle(pair, lanes)
    return [made[i] for i in range(len(vectors))]
