"""Operators that pick elements by positions; the maps are exact if the positions are constants along one axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Batch, Node, Value, constant
from graphopt.ops import Gather, GatherElements, GatherNd, ScatterElements, ScatterNd
from graphopt.passes.prune.maps.layers import kept_on
from graphopt.passes.prune.maps.table import Kept, channel_map, shrinks
from graphopt.passes.prune.relations import Relations

COMPUTED = "elements are picked at computed positions along it"
WRITTEN = "it says what is written over"


def positions(indices: Value, size: int) -> Array | None:
    """Constant indices, all counted from the start."""
    data = indices.constant
    return None if data is None else np.where(data < 0, data + size, data)


@channel_map(Gather)
def gather(node: Node, relations: Relations) -> None:
    """Constant indices of rank one are an index map; elements that other indices pick, or may pick, must stay."""
    (x, indices), (y,), op = node.inputs, node.results, node.op
    assert isinstance(op, Gather)
    extra = indices.type.rank
    for axis in range(x.type.rank):
        if axis != op.axis:
            relations.join(x, axis, y, axis if axis < op.axis else axis + extra - 1)
    for axis in range(extra):
        relations.join(indices, axis, y, op.axis + axis)
    own = relations.ids(x, op.axis)
    at = positions(indices, len(own))
    if at is None or isinstance(x.type.shape[op.axis], Batch):
        relations.keep(own, COMPUTED)
    elif extra == 1:
        relations.link(own[at], relations.ids(y, op.axis))
    else:
        relations.keep(own[at.ravel()], "it is picked by a constant index")


@shrinks(Gather)
def shrink_gather(node: Node, inputs: tuple[Value, ...], kept: Kept) -> Sequence[Value]:
    """The gather with its indices, which have shrunk already, renumbered to the kept elements."""
    (x, indices), op = inputs, node.op
    assert isinstance(op, Gather)
    size = node.inputs[0].type.shape[op.axis]
    at = positions(indices, size) if isinstance(size, int) else None
    if at is not None:
        moved = np.searchsorted(kept_on(kept, node.inputs[0], op.axis), at).astype(at.dtype)
        indices = constant(moved, like=indices)
    return op.apply(x, indices, name=node.name, origins=node.origins).results


@channel_map(GatherElements)
def gather_elements(node: Node, relations: Relations) -> None:
    (x, indices), (y,), op = node.inputs, node.results, node.op
    assert isinstance(op, GatherElements)
    for axis in range(x.type.rank):
        relations.join(indices, axis, y, axis)
        own, others = relations.ids(x, axis), relations.ids(indices, axis)
        if axis == op.axis:
            relations.keep(own, COMPUTED)
        elif len(own):
            relations.link(own[: len(others)], others)
            relations.keep(own[len(others) :], "gather_elements reads less than all of it")


@channel_map(ScatterElements)
def scatter_elements(node: Node, relations: Relations) -> None:
    (x, indices, updates), (y,), op = node.inputs, node.results, node.op
    assert isinstance(op, ScatterElements)
    for axis in range(x.type.rank):
        relations.join(x, axis, y, axis)
        relations.join(indices, axis, updates, axis)
        if axis == op.axis:
            relations.keep_axis(x, axis, COMPUTED)
            relations.keep_axis(indices, axis, WRITTEN)
        elif indices.type.shape[axis] == x.type.shape[axis]:
            relations.join(indices, axis, x, axis)
        else:
            relations.keep_axis(x, axis, WRITTEN)
            relations.keep_axis(indices, axis, WRITTEN)


@channel_map(GatherNd)
def gather_nd(node: Node, relations: Relations) -> None:
    (x, indices), (y,), op = node.inputs, node.results, node.op
    assert isinstance(op, GatherNd)
    depth = indices.type.shape[-1]
    assert isinstance(depth, int)
    lead = indices.type.rank - 1
    for axis in range(lead):
        relations.join(indices, axis, y, axis)
    relations.keep_axis(indices, -1, "it holds positions")
    for axis in range(x.type.rank):
        if axis < op.batch_dims:
            relations.join(x, axis, y, axis)
        elif axis < op.batch_dims + depth:
            relations.keep_axis(x, axis, COMPUTED)
        else:
            relations.join(x, axis, y, lead + axis - op.batch_dims - depth)


@channel_map(ScatterNd)
def scatter_nd(node: Node, relations: Relations) -> None:
    (x, indices, updates), (y,) = node.inputs, node.results
    depth, lead = indices.type.shape[-1], indices.type.rank - 1
    assert isinstance(depth, int)
    for axis in range(lead):
        relations.keep_axis(updates, axis, WRITTEN)
    relations.keep_value(indices, WRITTEN)
    for axis in range(x.type.rank):
        relations.join(x, axis, y, axis)
        if axis < depth:
            relations.keep_axis(x, axis, COMPUTED)
        else:
            relations.join(x, axis, updates, lead + axis - depth)
