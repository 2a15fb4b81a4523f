"""The rules of the ONNX operators that pick elements by position, or put them there."""

from __future__ import annotations

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph
from graphopt.frontends import normal
from graphopt.frontends.emit import cast, counted, emit, pick, whole
from graphopt.frontends.limits import room
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Value


@onnx_rule("Gather")
def gather(at: OnnxNode) -> Value:
    """By known indices, regular ones are a slice."""
    x = at.value(0)
    axis = normal.axis_of(at.whole("axis"), x.type.rank)
    if not at.is_known(1):
        return at.emit(ops.Gather(axis=axis), x, at.value(1))
    indices = at.known(1)
    if indices.ndim == 0:
        return normal.select(at, x, axis, int(indices.item()))
    return pick(at, x, axis, indices)


@onnx_rule("GatherElements")
def gather_elements(at: OnnxNode) -> Value:
    x = at.value(0)
    return at.emit(ops.GatherElements(axis=normal.axis_of(at.whole("axis"), x.type.rank)), x, at.value(1))


@onnx_rule("GatherND")
def gather_nd(at: OnnxNode) -> Value:
    return at.emit(ops.GatherNd(batch_dims=at.whole("batch_dims", 0)), at.value(0), at.value(1))


@onnx_rule("Scatter", "ScatterElements")
def scatter_elements(at: OnnxNode) -> Value:
    x, indices, updates = at.values
    axis = normal.axis_of(at.whole("axis"), x.type.rank)
    return at.emit(ops.ScatterElements(axis=axis, reduction=at.text("reduction", "none")), x, indices, updates)


@onnx_rule("ScatterND")
def scatter_nd(at: OnnxNode) -> Value:
    return at.emit(ops.ScatterNd(reduction=at.text("reduction", "none")), *at.values)


@onnx_rule("Compress")
def compress(at: OnnxNode) -> Value:
    """By a known condition; without an axis, of all elements in a row."""
    x, places = at.value(0), np.flatnonzero(at.known(1))
    axis = at.raw("axis")
    if axis is None:
        x, axis = normal.reshape(at, x, (whole(x, range(x.type.rank)),), "row"), 0
    return pick(at, x, normal.axis_of(int(axis), x.type.rank), places)


@onnx_rule("OneHot")
def one_hot(at: OnnxNode) -> Value:
    """``off`` everywhere but, along a new axis, ``on`` at the index; negative indices count from the end."""
    indices, depth, values = at.value(0), int(at.known(1).item()), at.value(2)
    axis = normal.axis_of(at.whole("axis"), indices.type.rank + 1)
    places = cast(at, indices, "int64", "integers")
    places = normal.reshape(at, places, (*places.type.shape[:axis], 1, *places.type.shape[axis:]), "places")
    wrapped = emit(at, ops.Mod(), places, depth, part="wrapped")
    hot = at.emit(ops.Equal(), wrapped, counted(at, depth, places.type.rank, axis), part="hot")
    hot = at.emit(ops.And(), hot, inside(at, places, depth), part="valid")
    return at.emit(ops.Where(), hot, normal.select(at, values, 0, 1), normal.select(at, values, 0, 0))


def inside(at: OnnxNode, places: Value, depth: int) -> Value:
    """Whether places lie in [-depth, depth)."""
    low = emit(at, ops.GreaterOrEqual(), places, -depth, part="low")
    return at.emit(ops.And(), low, emit(at, ops.Less(), places, depth, part="high"), part="inside")


@onnx_rule("Trilu")
def trilu(at: OnnxNode) -> Value:
    """The upper or lower triangle of matrices, zeros elsewhere."""
    x = at.value(0)
    rows, columns = x.type.with_shape(x.type.shape[-2:]).static_shape
    k = int(at.known(1).item()) if at.has(1) else 0
    room(rows, columns)
    ones = np.ones((rows, columns), bool)
    kept = np.triu(ones, k) if at.flag("upper") else np.tril(ones, k)
    return at.emit(ops.Where(), at.constant(kept, "kept"), x, at.constant(np.zeros((), x.type.dtype), "zero"))


@onnx_rule("ReverseSequence")
def reverse_sequence(at: OnnxNode) -> Value:
    """Every sequence of the batch turned round up to its length."""
    x, lengths = at.value(0), at.value(1)
    time, batch = at.whole("time_axis"), at.whole("batch_axis")
    steps = x.type.shape[time]
    if not isinstance(steps, int) or {time, batch} != {0, 1}:
        raise InvalidGraph(f"reverse_sequence along {time} of {x.type}")
    lengths = normal.reshape(at, lengths, (x.type.shape[batch], 1) if batch == 0 else (1, x.type.shape[batch]), "rows")
    places = counted(at, steps, 2, time)
    turned = emit(at, ops.Sub(), at.emit(ops.Sub(), lengths, places, part="left"), 1, part="turned")
    inside = at.emit(ops.Less(), places, lengths, part="inside")
    sources = at.emit(ops.Where(), inside, turned, places, part="sources")
    sources = normal.reshape(at, sources, (*sources.type.shape, *(1,) * (x.type.rank - 2)), "column")
    return at.emit(ops.GatherElements(axis=time), x, normal.expand(at, sources, x.type.shape, "places"))


@onnx_rule("TensorScatter")
def tensor_scatter(at: OnnxNode) -> Value:
    """A cache updated along its sequence axis from a position a batch entry on, round the end if circular."""
    past, update = at.value(0), at.value(1)
    axis = normal.axis_of(at.whole("axis"), past.type.rank)
    size, count, rank = whole(past, (axis,)), whole(update, (axis,)), past.type.rank
    places = counted(at, count, rank, axis)
    if at.has(2):
        first = normal.reshape(at, at.value(2), (past.type.shape[0], *(1,) * (rank - 1)), "first")
        places = at.emit(ops.Add(), places, first, part="places")
    if at.text("mode") == "circular":
        places = emit(at, ops.Mod(), places, size, part="round")
    return at.emit(ops.ScatterElements(axis=axis), past, normal.expand(at, places, update.type.shape, "all"), update)
