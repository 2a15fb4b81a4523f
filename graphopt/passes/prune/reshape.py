"""Which axes of a reshape correspond: the shortest runs of equal size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphopt.ir import Batch, Dim, Shape


@dataclass(frozen=True)
class Segment:
    """Axes in a row of x and of y with the same elements in the same order; those of length one left out.

    ``batch`` says that the batch is among more axes than itself, so that nothing is known of the others.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    batch: bool


def segments(x: Shape, y: Shape) -> Iterator[Segment]:
    """The shortest runs of axes of two shapes of equal size that have equal sizes."""
    if 0 in (*x, *y):
        yield Segment(tuple(range(len(x))), tuple(range(len(y))), batch=False)
        return
    i = j = 0
    while i < len(x) or j < len(y):
        first, second = i, j
        left, right = (0, 1), (0, 1)
        while (i, j) == (first, second) or left != right:
            if j == len(y) or (left <= right and i < len(x)):
                left, i = times(left, x[i]), i + 1
            else:
                right, j = times(right, y[j]), j + 1
        before = tuple(a for a in range(first, i) if x[a] != 1)
        after = tuple(a for a in range(second, j) if y[a] != 1)
        mixed = any(isinstance(x[a], Batch) for a in before) and max(len(before), len(after)) > 1
        if before or after:
            yield Segment(before, after, mixed)


def times(size: tuple[int, int], dim: Dim) -> tuple[int, int]:
    """A size as (power of N, factor) times a dimension."""
    return (size[0] + 1, size[1] * dim.factor) if isinstance(dim, Batch) else (size[0], size[1] * dim)
