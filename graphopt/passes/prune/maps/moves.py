"""Operators that move elements: offsets, permutations, repetitions, runs of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphopt.ir import Batch, Dim, Node, Shape, Value, constant
from graphopt.ops import Concat, Expand, Gather, Pad, Reshape, Slice, Split, Tile, Transpose
from graphopt.passes.prune.maps.layers import kept_on
from graphopt.passes.prune.maps.table import Kept, channel_map, shrinks
from graphopt.passes.prune.relations import ChannelAxis, Relations


def join_others(x: Value, y: Value, axis: int, relations: Relations) -> None:
    """Join all axes of x and y but one, each with the axis at the same place."""
    for other in range(x.type.rank):
        if other != axis:
            relations.join(x, other, y, other)


def shrunk(shape: Shape, value: Value, kept: Kept) -> tuple[Dim, ...]:
    """The shape of a value without the removed indices."""
    places = [ChannelAxis(value, axis) for axis in range(len(shape))]
    return tuple(p.shrunk(len(kept[p])) if p in kept else d for p, d in zip(places, shape, strict=True))


@channel_map(Reshape)
def reshape(node: Node, relations: Relations) -> None:
    relations.reshape(node)


@shrinks(Reshape, Expand)
def shrink_shape(node: Node, inputs: tuple[Value, ...], kept: Kept) -> Sequence[Value]:
    assert isinstance(node.op, Reshape | Expand)
    op = replace(node.op, shape=shrunk(node.op.shape, node.results[0], kept))
    return op.apply(*inputs, name=node.name, origins=node.origins).results


@channel_map(Transpose)
def transpose(node: Node, relations: Relations) -> None:
    assert isinstance(node.op, Transpose)
    for axis, source in enumerate(node.op.perm):
        relations.join(node.inputs[0], source, node.results[0], axis)


@channel_map(Concat)
def concat(node: Node, relations: Relations) -> None:
    """Link each operand's channels, shifted by those of the operands before it."""
    assert isinstance(node.op, Concat)
    (y,), axis, start = node.results, node.op.axis, 0
    channels = relations.ids(y, axis)
    for x in node.inputs:
        join_others(x, y, axis, relations)
        own = relations.ids(x, axis)
        if isinstance(y.type.shape[axis], Batch):
            relations.keep(np.concatenate([own, channels]), "concat runs along the batch")
        else:
            relations.link(own, channels[start : start + len(own)])
        start += len(own)


@channel_map(Slice)
def slice_(node: Node, relations: Relations) -> None:
    (x,), (y,), op = node.inputs, node.results, node.op
    assert isinstance(op, Slice)
    join_others(x, y, op.axis, relations)
    relations.link(relations.ids(x, op.axis)[op.start : op.stop : op.step], relations.ids(y, op.axis))


@shrinks(Slice)
def shrink_slice(node: Node, inputs: tuple[Value, ...], kept: Kept) -> Sequence[Value]:
    """The same elements at their new places: a slice, or a gather if they are no longer evenly spaced."""
    op, (x,), (old,), (y,) = node.op, inputs, node.inputs, node.results
    assert isinstance(op, Slice)
    wanted = np.arange(op.start, op.stop, op.step)[kept_on(kept, y, op.axis)]
    at = np.searchsorted(kept_on(kept, old, op.axis), wanted)
    steps = set(np.diff(at).tolist()) or {1}
    if len(steps) == 1:
        step = steps.pop()
        new: Slice | Gather = Slice(axis=op.axis, start=int(at[0]), stop=int(at[-1]) + 1, step=step)
        return new.apply(x, name=node.name, origins=node.origins).results
    new = Gather(axis=op.axis)
    return new.apply(x, constant(at.astype(np.int64)), name=node.name, origins=node.origins).results


@channel_map(Split)
def split(node: Node, relations: Relations) -> None:
    (x,), op, start = node.inputs, node.op, 0
    assert isinstance(op, Split)
    for y, size in zip(node.results, op.sizes, strict=True):
        join_others(x, y, op.axis, relations)
        relations.link(relations.ids(x, op.axis)[start : start + size], relations.ids(y, op.axis))
        start += size


@shrinks(Split)
def shrink_split(node: Node, inputs: tuple[Value, ...], kept: Kept) -> Sequence[Value]:
    assert isinstance(node.op, Split)
    sizes = tuple(len(kept_on(kept, y, node.op.axis)) for y in node.results)
    return replace(node.op, sizes=sizes).apply(*inputs, name=node.name, origins=node.origins).results


@channel_map(Pad)
def pad(node: Node, relations: Relations) -> None:
    (x,), (y,) = node.inputs, node.results
    assert isinstance(node.op, Pad)
    for axis in range(x.type.rank):
        before, size = node.op.pads[axis], len(relations.ids(x, axis))
        padded = relations.ids(y, axis)
        relations.link(relations.ids(x, axis), padded[before : before + size])
        relations.keep(np.delete(padded, np.s_[before : before + size]), "it is padding")


@channel_map(Expand)
def expand(node: Node, relations: Relations) -> None:
    (x,), (y,) = node.inputs, node.results
    for axis in range(1, x.type.rank + 1):
        relations.join(x, -axis, y, -axis)


@channel_map(Tile)
def tile(node: Node, relations: Relations) -> None:
    """Every copy of an element is removed with it."""
    (x,), (y,) = node.inputs, node.results
    for axis, dim in enumerate(x.type.shape):
        own, copies = relations.ids(x, axis), relations.ids(y, axis)
        if isinstance(dim, Batch) and dim != y.type.shape[axis]:
            relations.keep(np.concatenate([own, copies]), "tile repeats the batch")
        elif len(own):
            relations.link(copies.reshape(-1, len(own)), own[None])
