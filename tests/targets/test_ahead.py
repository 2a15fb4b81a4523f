"""Weights that are prefetched: all lines of the next block, in its share each part, and not far beyond."""

from __future__ import annotations

from itertools import product

import pytest

from graphopt.targets.kernels.ahead import LINE, Ahead
from graphopt.targets.tir import Expr

TILES = (1, 2, 3, 7, 9, 14, 16, 33, 130)


@pytest.mark.parametrize(("width", "lanes"), [(8, 8), (16, 8), (16, 16), (32, 16), (8, 4), (12, 4)])
def test_all_tiles_together_prefetch_the_next_block(width: int, lanes: int) -> None:
    for parts, rows in product(TILES, (16, 64, 528)):
        ahead = Ahead(width, lanes, parts, address)
        steps = range(rows // ahead.between)
        prefetched = {
            first + number
            for part in range(parts)
            for first in (ahead.first(part, rows) + step * ahead.share for step in steps)
            for number in range(0, ahead.share, LINE)
        }
        block = rows * width
        assert {number // LINE for number in prefetched} >= set(range(block // LINE)), (parts, rows)
        assert max(prefetched) < 2 * block + LINE, (parts, rows)


def address(number: Expr) -> Expr:
    return number
