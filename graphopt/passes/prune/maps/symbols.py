"""Input symbols: indices that stand for values of the data. They are not channels and must stay.

Each of the 257 outputs of a one-hot of bytes is compared with a constant, and read by one column of the next layer's
weights. So they look like channels to the index maps. But without one of them the network does not know that byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from graphopt.ir import Array, Graph, Input, Node, Value
from graphopt.ops import (
    Add,
    Binary,
    Cast,
    Ceil,
    Comparison,
    Expand,
    Floor,
    Gather,
    GatherElements,
    GatherNd,
    Logical,
    Reshape,
    Round,
    Sign,
    Sub,
    Tile,
    Transpose,
    Unary,
    Where,
)
from graphopt.passes.prune.relations import ChannelAxis
from graphopt.passes.prune.reshape import axis_groups

COMPARED = "it enumerates values of the data: input symbols are no channels"
CODES = "its columns are codes of input symbols, which are no channels"
LOOKED_UP = "its rows are looked up by the data: input symbols are no channels"

ELEMENTWISE = (Unary, Cast, Binary, Comparison, Logical, Where)
ROUNDING = (Floor, Ceil, Round, Sign)

Axes = frozenset[int]
"""Counted from the end, so negative."""


def symbol_axes(graph: Graph) -> Iterator[tuple[ChannelAxis, str]]:
    """The axes whose indices are input symbols, each with the reason."""
    repeated: dict[Value, Axes] = {}
    """For values that depend on the data, the axes along which all their elements are equal."""
    listed: dict[Value, Axes] = {}
    """For the same values, the axes along which only constants differ, while the data in them is the same."""
    for node in graph.nodes:
        if not isinstance(node.op, Input) and not any(v in repeated for v in node.inputs):
            continue
        yield from looked_up(node, repeated)
        for value in node.results:
            repeated[value] = single(value) | carried(node, lambda v, axis: repeats(v, axis, repeated))
            listed[value] = repeated[value] | carried(node, lambda v, axis: v not in listed or has(listed, v, axis))
        yield from enumerated(node, listed[node.results[0]] - repeated[node.results[0]])


def single(value: Value) -> Axes:
    """The axes of length one."""
    return frozenset(i - value.type.rank for i, d in enumerate(value.type.shape) if d == 1)


def has(known: Mapping[Value, Axes], value: Value, axis: int) -> bool:
    """Whether an axis is among the known axes of a value, or the value does not have it."""
    return axis < -value.type.rank or axis in known[value]


def repeats(value: Value, axis: int, repeated: Mapping[Value, Axes]) -> bool:
    """Whether a value is the same at all indices of an axis; true if it does not have the axis."""
    if value in repeated or axis < -value.type.rank:
        return has(repeated, value, axis)
    if (data := value.constant) is not None:
        return bool((data == data.take([0], axis)).all()) if data.size else True
    return value.type.shape[axis] == 1


def carried(node: Node, holds: Callable[[Value, int], bool]) -> Axes:
    """The axes of the result for which a property holds because it holds for the operands."""
    op, y = node.op, node.results[0]
    axes = range(-y.type.rank, 0)
    if isinstance(op, ELEMENTWISE):
        return frozenset(a for a in axes if all(holds(v, a) for v in node.inputs))
    if isinstance(op, Expand | Tile):
        return frozenset(a for a in axes if holds(node.inputs[0], a))
    if isinstance(op, Transpose):
        return frozenset(a for a in axes if holds(node.inputs[0], op.perm[a] - y.type.rank))
    if isinstance(op, Reshape):
        (x,) = node.inputs
        runs = [s for s in axis_groups(x.type.shape, y.type.shape) if len(s.before) == 1 and not s.batch]
        return frozenset(a - y.type.rank for s in runs if holds(x, s.before[0] - x.type.rank) for a in s.after)
    return frozenset()


def enumerated(node: Node, listed: Axes) -> Iterator[tuple[ChannelAxis, str]]:
    """The axes along which constants turn the same data into integers, truth values or differences."""
    op, y = node.op, node.results[0]
    if not isinstance(op, ELEMENTWISE):
        return
    discrete = not y.type.is_float or isinstance(op, ROUNDING)
    distances = isinstance(op, Add | Sub) and any(counts(v.constant) for v in node.inputs)
    if discrete or distances:
        for axis in sorted(listed):
            yield ChannelAxis(y, axis + y.type.rank), COMPARED


def looked_up(node: Node, repeated: Mapping[Value, Axes]) -> Iterator[tuple[ChannelAxis, str]]:
    """The rows of a constant table that data looks up, and its columns if the rows are one-hot or other codes."""
    op = node.op
    if not isinstance(op, Gather | GatherElements | GatherNd):
        return
    table, indices = node.inputs
    if table.constant is None or indices not in repeated:
        return
    rows = range(op.batch_dims + depth_of(indices)) if isinstance(op, GatherNd) else (op.axis,)
    for axis in range(table.type.rank):
        if axis in rows:
            yield ChannelAxis(table, axis), LOOKED_UP
        elif codes(table.constant, axis):
            yield ChannelAxis(table, axis), CODES


def depth_of(indices: Value) -> int:
    """The number of axes that the coordinates of ``gather_nd`` index."""
    depth = indices.type.shape[-1]
    assert isinstance(depth, int)
    return depth


def counts(data: Array | None) -> bool:
    """Whether a constant holds evenly spaced integers, as a range does."""
    if data is None or data.size < 2 or data.size != max(data.shape):
        return False
    steps = np.unique(np.diff(data.ravel()))
    return bool(len(steps) == 1 and steps[0] != 0 and (data == np.round(data)).all())


def codes(table: Array, axis: int) -> bool:
    """Whether the rows of a table along an axis are codes: one-hot, all 0 or 1, or not floats."""
    marks = np.isin(table, (0, 1)).all() or np.count_nonzero(table, axis).max(initial=0) <= 1
    return bool(marks or table.dtype.kind != "f")
