"""Layers with weights, matrix products and norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphopt.ir import Array, Node, Value
from graphopt.ops import (
    BatchNorm,
    Conv,
    ConvTranspose,
    LayerNorm,
    Linear,
    MatMul,
    Softmax,
)
from graphopt.passes.prune.maps.table import Kept, channel_map, shrinks
from graphopt.passes.prune.relations import ChannelAxis, Relations

WINDOW = "a window slides along it"


def by_group(elements: Array, group: int) -> Array:
    """The elements of a channel axis, [group, channels of a group]."""
    return elements.reshape(group, -1)


def whole_groups(channels: int, outputs: int, group: int) -> bool:
    """Whether groups are removed as a whole: if there are more groups than channels in one, as in depthwise layers."""
    return group > max(channels, outputs) // group


@channel_map(Conv, ConvTranspose)
def convolution(node: Node, relations: Relations) -> None:
    """Link the channels of x with one axis of the weight, those of y with the other and with the bias.

    With groups, either a whole group is removed (with its outputs), or the channels at the same place in every group.
    """
    x, w, b = node.inputs
    (y,) = node.results
    op = node.op
    assert isinstance(op, Conv | ConvTranspose)
    group, transposed = op.group, isinstance(op, ConvTranspose)
    relations.join(x, 0, y, 0)
    for value in (x, y, w):
        relations.keep_value(value, WINDOW, but=(0, 1))
    relations.join(y, 1, b, 0)
    relations.produce(node, 1)
    inputs, outputs = by_group(relations.ids(x, 1), group), by_group(relations.ids(y, 1), group)
    # one axis of the weight has the channels of all groups, the other those of one group
    wide, narrow = (inputs, outputs) if transposed else (outputs, inputs)
    relations.link(relations.ids(w, 0), wide.ravel())
    if group > 1 and whole_groups(inputs.size, outputs.size, group):
        relations.keep_axis(w, 1, "groups go as a whole")
        for side in (inputs, outputs):
            relations.link(side, inputs[:, :1])
        return
    relations.link(narrow, relations.ids(w, 1)[None])
    relations.link(wide, wide[:1])
    relations.contract(node, 0, 1)


@shrinks(Conv, ConvTranspose)
def shrink_convolution(node: Node, inputs: tuple[Value, ...], kept: Kept) -> Sequence[Value]:
    """The convolution with the group count reduced by the removed whole groups."""
    op, before, after = node.op, node.inputs[0].type.shape[1], inputs[0].type.shape[1]
    assert isinstance(op, Conv | ConvTranspose) and isinstance(before, int) and isinstance(after, int)
    outputs = node.types[0].shape[1]
    assert isinstance(outputs, int)
    if op.group > 1 and whole_groups(before, outputs, op.group):
        op = replace(op, group=op.group * after // before)
    return op.apply(*inputs, name=node.name, origins=node.origins).results


@channel_map(Linear)
def linear(node: Node, relations: Relations) -> None:
    x, w, b = node.inputs
    (y,) = node.results
    for axis in range(x.type.rank - 1):
        relations.join(x, axis, y, axis)
    relations.join(x, -1, w, 1)
    relations.join(y, -1, w, 0)
    relations.join(y, -1, b, 0)
    relations.contract(node, 0, -1)
    relations.produce(node, -1)


@channel_map(MatMul)
def matmul(node: Node, relations: Relations) -> None:
    a, b = node.inputs
    (y,) = node.results
    relations.join(a, -1, b, -2)
    relations.join(a, -2, y, -2)
    relations.join(b, -1, y, -1)
    for operand in (a, b):
        for axis in range(3, operand.type.rank + 1):
            relations.join(operand, -axis, y, -axis)
    relations.contract(node, 0, -1)
    if b.constant is not None:
        relations.produce(node, -1)


@channel_map(BatchNorm)
def batch_norm(node: Node, relations: Relations) -> None:
    x, *parameters = node.inputs
    for axis in range(x.type.rank):
        relations.join(x, axis, node.results[0], axis)
    for parameter in parameters:
        relations.join(x, 1, parameter, 0)


@channel_map(LayerNorm)
def layer_norm(node: Node, relations: Relations) -> None:
    x, scale, bias = node.inputs
    (y,) = node.results
    for axis in range(x.type.rank):
        relations.join(x, axis, y, axis)
    for axis in range(1, scale.type.rank + 1):
        relations.join(x, -axis, scale, -axis)
        relations.join(x, -axis, bias, -axis)
        relations.keep_axis(x, -axis, "layer_norm takes the mean over it")


@channel_map(Softmax)
def softmax(node: Node, relations: Relations) -> None:
    (x,), (y,) = node.inputs, node.results
    assert isinstance(node.op, Softmax)
    for axis in range(x.type.rank):
        relations.join(x, axis, y, axis)
    relations.keep_axis(x, node.op.axis, "softmax adds up over it")


def kept_on(kept: Kept, value: Value, axis: int) -> Array:
    """The kept indices of an axis; all of them if it does not shrink."""
    place = ChannelAxis(value, axis % value.type.rank)
    return kept[place] if place in kept else np.arange(place.size)
