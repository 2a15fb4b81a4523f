"""The corresponding axes of a reshape: the shortest runs of equal size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphopt.ir import Batch, Shape

Size = tuple[int, int]
"""A number of elements, as its power of N and its factor."""


@dataclass(frozen=True)
class AxisGroup:
    """A run of axes of x and one of y with the same elements in the same order; axes of length one are left out.

    An axis k*N counts as N followed by k; its elements are those k. ``batch`` says that N stands among other axes,
    so that nothing is known about them.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    batch: bool


def axis_groups(x: Shape, y: Shape) -> Iterator[AxisGroup]:
    """The shortest runs of axes of two shapes of equal size that have equal sizes."""
    if 0 in (*x, *y):
        yield AxisGroup(tuple(range(len(x))), tuple(range(len(y))), batch=False)
        return
    left, right = list(factors(x)), list(factors(y))
    i = j = 0
    while i < len(left) or j < len(right):
        first, second = i, j
        a, b = (0, 1), (0, 1)
        while (i, j) == (first, second) or a != b:
            if j == len(right) or (a <= b and i < len(left)):
                a, i = times(a, left[i][1]), i + 1
            else:
                b, j = times(b, right[j][1]), j + 1
        runs = left[first:i], right[second:j]
        before, after = (tuple(axis for axis, size in run if size[1] > 1) for run in runs)
        if before or after:
            yield AxisGroup(before, after, batch=any(size[0] for run in runs for _, size in run))


def factors(shape: Shape) -> Iterator[tuple[int, Size]]:
    """The axes with their sizes; k*N counts as two."""
    for axis, dim in enumerate(shape):
        if isinstance(dim, Batch):
            yield axis, (1, 1)
            yield axis, (0, dim.factor)
        else:
            yield axis, (0, dim)


def times(a: Size, b: Size) -> Size:
    return a[0] + b[0], a[1] * b[1]
