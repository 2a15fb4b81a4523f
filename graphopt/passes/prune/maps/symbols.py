"""Input symbols: indices that stand for values of the data, and are no channels although nothing else holds them.

The 257 outputs of a one-hot of bytes are each a constant that data is compared with, and a column of the next layer's
weights: to the index maps alone they look like channels. Without one of them the network does not know that byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from graphopt.ir import Array, Graph, Input, Node, Value
from graphopt.ops import (
    Add,
    Binary,
    Cast,
    Comparison,
    Expand,
    Gather,
    GatherElements,
    GatherNd,
    Logical,
    Reshape,
    Sub,
    Tile,
    Transpose,
    Unary,
    Where,
)
from graphopt.passes.prune.relations import ChannelAxis
from graphopt.passes.prune.reshape import segments

COMPARED = "it enumerates values of the data: input symbols are no channels"
CODES = "its columns are codes of input symbols, which are no channels"
LOOKED_UP = "its rows are looked up by the data: input symbols are no channels"

Axes = frozenset[int]


def symbol_axes(graph: Graph) -> Iterator[tuple[ChannelAxis, str]]:
    """The axes whose indices are input symbols, and why they are that."""
    repeated: dict[Value, Axes] = {}
    """For values that depend on the data, the axes along which they only repeat: counted from the end, so negative."""
    for node in graph.nodes:
        if not isinstance(node.op, Input) and not any(v in repeated for v in node.inputs):
            continue
        yield from enumerated(node, repeated)
        yield from looked_up(node, repeated)
        for value in node.results:
            repeated[value] = single(value) | carried(node, repeated)


def single(value: Value) -> Axes:
    """The axes of length one."""
    return frozenset(i - value.type.rank for i, d in enumerate(value.type.shape) if d == 1)


def enumerated(node: Node, repeated: Mapping[Value, Axes]) -> Iterator[tuple[ChannelAxis, str]]:
    """The axes of a result along which all data repeats, and constants that it is compared with do not."""
    if not isinstance(node.op, Binary | Comparison | Logical | Where):
        return
    (y,) = node.results
    for axis in range(-y.type.rank, 0):
        varying = [v for v in node.inputs if not repeats(v, axis, repeated)]
        if not varying or any(v in repeated for v in varying):
            continue
        if not y.type.is_float or (isinstance(node.op, Add | Sub) and any(counts(v.constant) for v in varying)):
            yield ChannelAxis(y, axis + y.type.rank), COMPARED


def looked_up(node: Node, repeated: Mapping[Value, Axes]) -> Iterator[tuple[ChannelAxis, str]]:
    """The rows of a constant table that data picks from, and its columns where the rows are one-hot or other codes."""
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
    """How many axes the coordinates of ``gather_nd`` speak of."""
    depth = indices.type.shape[-1]
    assert isinstance(depth, int)
    return depth


def repeats(value: Value, axis: int, repeated: Mapping[Value, Axes]) -> bool:
    """Whether a value is the same at all indices of an axis, counted from the end; where it has none, it is."""
    if axis < -value.type.rank:
        return True
    if value in repeated:
        return axis in repeated[value]
    if (data := value.constant) is not None:
        return bool((data == data.take([0], axis)).all()) if data.size else True
    return value.type.shape[axis] == 1


def carried(node: Node, repeated: Mapping[Value, Axes]) -> Axes:
    """The axes of the result along which it repeats since the operands do."""
    op, y = node.op, node.results[0]
    if isinstance(op, Unary | Cast | Binary | Comparison | Logical | Where):
        return frozenset(a for a in range(-y.type.rank, 0) if all(repeats(v, a, repeated) for v in node.inputs))
    if not isinstance(op, Expand | Tile | Transpose | Reshape):
        return frozenset()
    (x,) = node.inputs
    rank = x.type.rank
    if isinstance(op, Expand | Tile):
        return frozenset(a for a in range(-y.type.rank, 0) if repeats(x, a, repeated))
    if isinstance(op, Transpose):
        return frozenset(i - rank for i, source in enumerate(op.perm) if source - rank in repeated[x])
    runs = [s for s in segments(x.type.shape, y.type.shape) if len(s.before) == 1 and not s.batch]
    return frozenset(a - y.type.rank for s in runs if s.before[0] - rank in repeated[x] for a in s.after)


def counts(data: Array | None) -> bool:
    """Whether a constant holds whole numbers in even steps, as a range does."""
    if data is None or data.size < 2 or data.size != max(data.shape):
        return False
    steps = np.unique(np.diff(data.ravel()))
    return bool(len(steps) == 1 and steps[0] != 0 and (data == np.round(data)).all())


def codes(table: Array, axis: int) -> bool:
    """Whether what the rows of a table hold along an axis is one-hot, 0 or 1 throughout, or no float."""
    marks = np.isin(table, (0, 1)).all() or np.count_nonzero(table, axis).max(initial=0) <= 1
    return bool(marks or table.dtype.kind != "f")
