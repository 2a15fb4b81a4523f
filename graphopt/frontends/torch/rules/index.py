"""The rules of the aten operators that pick elements by position, put them there, and order them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import counted, emit, pick
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.ir import Batch, Value, numel

SCATTERS = {"add": "add", "sum": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min"}
"""The reductions of scatters, from torch's names to ours."""


def gathered(at: AtenNode, x: Value, axis: int, indices: Value) -> Value:
    """x's elements at the indices along an axis; regular constant ones are a slice."""
    if indices.constant is None:
        return at.emit(ops.Gather(axis=axis), x, indices)
    return pick(at, x, axis, indices.constant)


@aten_rule("index_select.default")
def index_select(at: AtenNode, x: Value, axis: int, indices: Value) -> Value:
    return gathered(at, x, normal.axis_of(axis, x.type.rank), indices)


@aten_rule("embedding.default")
def embedding(at: AtenNode, table: Value, indices: Value, *settings: Any) -> Value:
    return gathered(at, table, 0, indices)


@aten_rule("gather.default")
def gather(at: AtenNode, x: Value, axis: int, indices: Value, sparse: bool) -> Value:
    return at.emit(ops.GatherElements(axis=normal.axis_of(axis, x.type.rank)), x, indices)


@aten_rule("index.Tensor", "_unsafe_index.Tensor")
def index(at: AtenNode, x: Value, indices: Sequence[Value | None]) -> Value:
    """Indexing by tensors in one axis, in the first axes, or in others that adjoin, which are merged into one."""
    places = [i for i in indices if i is not None]
    if any(i.type.dtype == "bool" for i in places):
        raise Unsupported("indexing by a mask", advice="use torch.where: its shape does not depend on data")
    axes = [a for a, i in enumerate(indices) if i is not None]
    if len(axes) == 1:
        return gathered(at, x, axes[0], places[0])
    first, last = axes[0], axes[-1]
    if axes != list(range(first, last + 1)):
        raise Unsupported("indexing by tensors in axes that do not adjoin", advice="index one axis after the other")
    if first == 0:
        return at.emit(ops.GatherNd(), x, coordinates(at, places))
    sizes = x.type.shape[first : last + 1]
    flat = wrapped(at, places[0], sizes[0])
    for place, size in zip(places[1:], sizes[1:], strict=True):
        other = wrapped(at, place, size)
        assert isinstance(size, int)
        flat = at.emit(ops.Add(), emit(at, ops.Mul(), flat, size, part="row"), other, part="place")
    shape = (*x.type.shape[:first], numel(sizes), *x.type.shape[last + 1 :])
    return at.emit(ops.Gather(axis=first), normal.reshape(at, x, shape, "merged"), flat)


def coordinates(at: AtenNode, places: Sequence[Value]) -> Value:
    """The indices of several axes, broadcast and side by side in a new last axis."""
    common = ops.broadcast(*(p.type.shape for p in places))
    wide = [normal.expand(at, at.cast(p, "int64", "wide"), common, "place") for p in places]
    return normal.concat(at, [normal.reshape(at, p, (*common, 1), "column") for p in wide], len(common))


def wrapped(at: AtenNode, indices: Value, size: Any) -> Value:
    """Indices counted from the start, as int64."""
    if isinstance(size, Batch):
        raise InvalidGraph("indexing by tensors along the batch")
    if indices.constant is not None:
        return at.derive(indices, f"wrapped {size}", lambda a: np.where(a < 0, a + size, a).astype(np.int64))
    return emit(at, ops.Mod(), at.cast(indices, "int64", "wide"), size, part="wrapped")


@aten_rule("index_put.default")
def index_put(at: AtenNode, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool) -> Value:
    """Slices put (or added) at indices along one axis, or at those of the first axes together."""
    reduction, values = "add" if accumulate else "none", at.operand(values, "values")
    axes = [a for a, i in enumerate(indices) if i is not None]
    given = [i for i in indices if i is not None]
    if any(i.type.dtype == "bool" for i in given):
        raise Unsupported("assignment by a mask", advice="use torch.where")
    if len(axes) == 1 and given[0].type.rank == 1:
        (axis,), (place,) = axes, given
        shape = (*x.type.shape[:axis], *place.type.shape, *x.type.shape[axis + 1 :])
        column = normal.reshape(at, place, (*place.type.shape, *(1,) * (x.type.rank - axis - 1)), "column")
        spread = normal.expand(at, column, shape, "places")
        return scattered(at, x, axis, spread, normal.expand(at, values, shape, "values"), reduction)
    if axes != list(range(len(axes))):
        raise Unsupported("assignment by tensors to other axes than the first", advice="move these axes to the front")
    rows = coordinates(at, given)
    common = rows.type.shape[:-1]
    values = normal.expand(at, values, (*common, *x.type.shape[len(axes) :]), "values")
    return at.emit(ops.ScatterNd(reduction=reduction), x, rows, values)


@aten_rule("diagonal.default")
def diagonal(at: AtenNode, x: Value, offset: int, first: int, second: int) -> Value:
    """A diagonal of matrices: every element after so many in their rows put in a row."""
    a, b = normal.axis_of(first, x.type.rank), normal.axis_of(second, x.type.rank)
    rest = [axis for axis in range(x.type.rank) if axis not in (a, b)]
    y = normal.transpose(at, x, (*rest, a, b), "matrices")
    columns = matrix(y)[1]
    start = offset if offset >= 0 else -offset * columns
    size = at.shape[-1]
    if isinstance(size, Batch):
        raise InvalidGraph("a diagonal along the batch")
    flat = normal.reshape(at, y, (*y.type.shape[:-2], numel(y.type.shape[-2:])), "flat")
    return pick(at, flat, flat.type.rank - 1, start + np.arange(size) * (columns + 1))


@aten_rule("scatter.src", "scatter.value", "scatter.reduce", "scatter.value_reduce")
def scatter(at: AtenNode, x: Value, axis: int, indices: Value, source: Any, reduce: str | None = None) -> Value:
    return scattered(at, x, axis, indices, source, SCATTERS[reduce] if reduce else "none")


@aten_rule("scatter_add.default")
def scatter_add(at: AtenNode, x: Value, axis: int, indices: Value, source: Value) -> Value:
    return scattered(at, x, axis, indices, source, "add")


def scattered(at: AtenNode, x: Value, axis: int, indices: Value, source: Any, reduction: str) -> Value:
    updates = at.operand(source, "source")
    if not isinstance(source, Value):
        updates = normal.expand(at, updates, indices.type.shape, "source")
    for a, size in enumerate(indices.type.shape):
        updates = updates if updates.type.shape[a] == size else normal.take(at, updates, a, 0, size, part="used")
    op = ops.ScatterElements(axis=normal.axis_of(axis, x.type.rank), reduction=reduction)
    return at.emit(op, x, at.cast(indices, "int64", "indices"), updates)


@aten_rule("scatter_reduce.two")
def scatter_reduce(
    at: AtenNode, x: Value, axis: int, indices: Value, source: Value, reduce: str, include_self: bool
) -> Value:
    if not include_self or reduce not in SCATTERS:
        raise Unsupported(f"scatter_reduce by {reduce!r}, include_self={include_self}", advice="include the tensor")
    return scattered(at, x, axis, indices, source, SCATTERS[reduce])


@aten_rule("topk.default")
def top_k(at: AtenNode, x: Value, k: int, axis: int, largest: bool, ordered: bool) -> tuple[Value, ...]:
    return at.emit_all(ops.TopK(k=k, axis=normal.axis_of(axis, x.type.rank), largest=largest), x)


@aten_rule("sort.default")
def sort(at: AtenNode, x: Value, axis: int, descending: bool) -> tuple[Value, ...]:
    """The first of all elements, ties by lower index: a stable sort, and so torch's may be."""
    axis = normal.axis_of(axis, x.type.rank)
    size = x.type.shape[axis]
    if isinstance(size, Batch):
        raise InvalidGraph(f"a sort of {x.type} along the batch")
    return top_k(at, x, size, axis, descending, True)


@aten_rule("sort.stable")
def stable_sort(at: AtenNode, x: Value, *settings: Any) -> tuple[Value, ...]:
    axis, descending = (s for s in settings[-2:])
    return sort(at, x, axis, descending)


@aten_rule("argsort.default")
def argsort(at: AtenNode, x: Value, axis: int, descending: bool) -> Value:
    return sort(at, x, axis, descending)[1]


@aten_rule("flip.default")
def flip(at: AtenNode, x: Value, axes: Sequence[int]) -> Value:
    for axis in normal.axes_of(axes, x.type.rank):
        size = x.type.shape[axis]
        if isinstance(size, Batch):
            raise InvalidGraph(f"{x.type} turned round along the batch")
        x = pick(at, x, axis, np.arange(size)[::-1], part=f"axis_{axis}")
    return x


@aten_rule("roll.default")
def roll(at: AtenNode, x: Value, shifts: Sequence[int], axes: Sequence[int]) -> Value:
    shape, each = x.type.shape, [normal.axis_of(a, x.type.rank) for a in axes]
    if not axes:
        x, each = normal.reshape(at, x, (numel(shape),), "flat"), [0]
    for shift, axis in zip(shifts, each, strict=True):
        size = x.type.shape[axis]
        if isinstance(size, Batch):
            raise InvalidGraph(f"{x.type} rolled along the batch")
        cut = -shift % size
        if cut:
            parts = [normal.take(at, x, axis, cut, size, part="head"), normal.take(at, x, axis, 0, cut, part="tail")]
            x = at.emit(ops.Concat(axis=axis), *parts, part=f"axis_{axis}")
    return normal.reshape(at, x, shape, "back")


@aten_rule("tril.default")
def tril(at: AtenNode, x: Value, diagonal: int) -> Value:
    return triangle(at, x, np.tril(np.ones(matrix(x), bool), diagonal))


@aten_rule("triu.default")
def triu(at: AtenNode, x: Value, diagonal: int) -> Value:
    return triangle(at, x, np.triu(np.ones(matrix(x), bool), diagonal))


def matrix(x: Value) -> tuple[int, ...]:
    return x.type.with_shape(x.type.shape[-2:]).static_shape


def triangle(at: AtenNode, x: Value, kept: Any) -> Value:
    return at.emit(ops.Where(), at.constant(kept, "kept"), x, at.operand(0, "zero"))


@aten_rule("repeat_interleave.self_int")
def repeat_interleave(at: AtenNode, x: Value, count: int, axis: int | None, *settings: Any) -> Value:
    """Each element of an axis ``count`` times in a row; without an axis, of all elements."""
    if axis is None:
        x, axis = normal.reshape(at, x, (numel(x.type.shape),), "flat"), 0
    axis = normal.axis_of(axis, x.type.rank)
    before, size, after = x.type.shape[:axis], x.type.shape[axis], x.type.shape[axis + 1 :]
    y = normal.reshape(at, x, (*before, size, 1, *after), "split")
    return normal.reshape(at, normal.expand(at, y, (*before, size, count, *after), "expand"), at.shape)


@aten_rule("unfold.default")
def unfold(at: AtenNode, x: Value, axis: int, size: int, step: int) -> Value:
    """Windows of an axis, their elements in a new last one."""
    axis = normal.axis_of(axis, x.type.rank)
    length = at.shape[axis]
    if isinstance(length, Batch):
        raise InvalidGraph(f"windows of {x.type} along the batch")
    places = np.arange(length)[:, None] * step + np.arange(size)
    y = pick(at, x, axis, places, part="windows")
    rest = [a for a in range(y.type.rank) if a != axis + 1]
    return normal.transpose(at, y, (*rest, axis + 1))


@aten_rule("one_hot.default")
def one_hot(at: AtenNode, x: Value, classes: int) -> Value:
    if classes < 0:
        raise Unsupported("one_hot without a number of classes", advice="give num_classes")
    column = normal.reshape(at, x, (*x.type.shape, 1), "column")
    same = at.emit(ops.Equal(), column, counted(at, classes, x.type.rank + 1, x.type.rank), part="same")
    return at.cast(same, "int64")


def cumulative(op: type[ops.CumSum] | type[ops.CumProd]) -> Any:
    return lambda at, x, axis, dtype: at.emit(op(axis=normal.axis_of(axis, x.type.rank)), at.operand(x, "input"))


aten_rule("cumsum.default")(cumulative(ops.CumSum))
aten_rule("cumprod.default")(cumulative(ops.CumProd))
