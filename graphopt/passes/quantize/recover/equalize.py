"""Cross-layer equalization: scale the channels between two layers so that weights on both sides have equal ranges.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.1. The
operators between the layers must be positively homogeneous, f(s x) = s f(x) for s > 0, and act on each channel alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, rebuild
from graphopt.ops import (
    AveragePool,
    Clip,
    Conv,
    ConvTranspose,
    Identity,
    LeakyRelu,
    Linear,
    MaxPool,
    Pad,
    PRelu,
    ReduceMax,
    ReduceMean,
    Relu,
)
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Exact
from graphopt.passes.fold.channels import Layer, channel_axis, folded, scale_grouped
from graphopt.passes.quantize.unfuse import unfused
from graphopt.rewrite import Decline

SWEEPS = 30
"""The most sweeps over all pairs: each pair disturbs its neighbours, less every time."""
SETTLED = 1e-3
"""Sweeps end when no logarithm of a scale changed by more than this."""
NEGLIGIBLE = 1e-6
"""A channel is not equalized if its weights are below this fraction of its layer's largest."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A layer, and the next layer, which is the only reader of its channels."""

    first: Node
    second: Node


class EqualizeLayers(Pass, name="equalize-layers", contract=Exact(float32=1e-5)):
    """Scale the channels between two layers so that the weights that produce and read a channel have equal ranges.

    It works through ReLU, LeakyReLU, PReLU, pooling and padding with zeros, along chains of convolutions (also
    depthwise), transposed convolutions and linear layers, until all pairs have settled. The bias counts as a weight.
    Scales are rounded to powers of two, so that every result stays the same to the last bit. Declines operators that
    are not positively homogeneous, and channels with other readers.
    """

    tells_users = True

    def run(self, graph: Graph, context: Context) -> Graph:
        graph = unfused(graph, context, self.name)
        pairs = list(self.pairs(graph, context))
        scales = settled_scales(pairs)
        layers = {node: Weights.of(node) for pair in pairs for node in (pair.first, pair.second)}
        for pair, scale in zip(pairs, scales, strict=True):
            layers[pair.first].scale_results(scale)
            layers[pair.second].scale_operands(1 / scale)
            text = f"equalized with {graph.names[pair.second]}, scales {scale.min():.3g} to {scale.max():.3g}"
            context.notes.append(Note(self.name, graph.names[pair.first], text))

        def scaled(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if node not in layers:
                return None
            _, w, b = node.inputs
            new = layers[node]
            return node.with_inputs((inputs[0], folded(new.weight, w), folded(new.bias, b))).results

        return rebuild(graph, scaled)

    def pairs(self, graph: Graph, context: Context) -> Iterator[Pair]:
        """The pairs of a graph, in its order; declined ones are noted."""
        for node in graph.nodes:
            if isinstance(node.op, Conv | ConvTranspose | Linear):
                try:
                    yield Pair(producer(graph, node), node)
                except Decline as why:
                    context.notes.append(Note(self.name, graph.names[node], f"stays as it is: {why}", declined=True))


def producer(graph: Graph, node: Node) -> Node:
    """The layer whose channels only this layer reads, through homogeneous operators; declines if there is none."""
    constants_of(node)
    value, axis = node.inputs[0], channel_axis(as_layer(node), node.inputs[0].type.rank)
    while True:
        source = value.node
        if graph.use_count(value) > 1:
            raise Decline(f"{graph.names[source]} has other readers")
        if isinstance(source.op, Conv | ConvTranspose | Linear):
            constants_of(source)
            if channel_axis(source.op, value.type.rank) != axis:
                raise Decline(f"{graph.names[source]} has its channels along another axis")
            return source
        value, axis = through(graph, source, axis)


def as_layer(node: Node) -> Layer:
    assert isinstance(node.op, Conv | ConvTranspose | Linear)
    return node.op


def constants_of(node: Node) -> None:
    if any(v.constant is None for v in node.inputs[1:]):
        raise Decline("its weights or its bias are not constant")


def through(graph: Graph, node: Node, axis: int) -> tuple[Value, int]:
    """The operand of a positively homogeneous operator, and the axis of its channels there."""
    op = node.op
    match op:
        case Relu() | LeakyRelu() | Identity() | MaxPool() | AveragePool() | PRelu():
            return node.inputs[0], axis
        case Clip() if {op.low, op.high} <= {0.0, float("-inf"), float("inf")}:
            return node.inputs[0], axis
        case ReduceMean() | ReduceMax() if (before := axis_before(op, axis)) not in op.axes:
            return node.inputs[0], before
        case Pad() if op.value == 0.0 and not op.pads[axis] and not op.pads[axis + len(op.pads) // 2]:
            return node.inputs[0], axis
    raise Decline(f"{graph.names[node]} in front of it ({op.name}) is not positively homogeneous by channel")


def axis_before(op: ReduceMean | ReduceMax, axis: int) -> int:
    """The axis of the operand that became ``axis`` of the result."""
    if op.keepdims:
        return axis
    left = [a for a in range(axis + len(op.axes) + 1) if a not in op.axes]
    return left[axis]


@dataclass
class Weights:
    """The weights and bias of a layer in float64, scaled in place."""

    op: Layer
    weight: Array
    bias: Array

    @classmethod
    def of(cls, node: Node) -> Weights:
        weight, bias = (v.constant for v in node.inputs[1:])
        assert weight is not None and bias is not None
        return cls(as_layer(node), weight.astype(np.float64), bias.astype(np.float64))

    def scale_results(self, factor: Array) -> None:
        self.bias = self.bias * factor
        if isinstance(self.op, ConvTranspose):
            self.weight = scale_grouped(self.weight, factor, self.op.group)
        else:
            self.weight = self.weight * factor.reshape(-1, *[1] * (self.weight.ndim - 1))

    def scale_operands(self, factor: Array) -> None:
        if isinstance(self.op, ConvTranspose):
            self.weight = self.weight * factor.reshape(-1, *[1] * (self.weight.ndim - 1))
        else:
            self.weight = scale_grouped(self.weight, factor, getattr(self.op, "group", 1))

    @property
    def by_result(self) -> Array:
        """[o, ...]: the weights that produce each channel."""
        if isinstance(self.op, ConvTranspose):
            return by_second(self.weight, self.op.group)
        return self.weight

    @property
    def by_operand(self) -> Array:
        """[c, ...]: the weights that read each channel."""
        if isinstance(self.op, ConvTranspose):
            return self.weight
        return by_second(self.weight, getattr(self.op, "group", 1))


def by_second(weight: Array, group: int) -> Array:
    """Weights [a, b/group, ...], in groups along their first axis, as [b, a/group, ...]."""
    parts = weight.reshape(group, -1, *weight.shape[1:])
    return parts.swapaxes(1, 2).reshape(-1, parts.shape[1], *weight.shape[2:])


def settled_scales(pairs: Sequence[Pair]) -> list[Array]:
    """The scale of each channel between each pair, a power of two, after sweeps over all pairs."""
    layers = {node: Weights.of(node) for pair in pairs for node in (pair.first, pair.second)}
    logs = [np.zeros(len(layers[pair.first].bias)) for pair in pairs]
    for _ in range(SWEEPS):
        changes = [equalize(layers[pair.first], layers[pair.second]) for pair in pairs]
        logs = [log + change for log, change in zip(logs, changes, strict=True)]
        if max((np.abs(c).max(initial=0.0) for c in changes), default=0.0) < SETTLED:
            break
    return [np.exp2(np.rint(log)) for log in logs]


def equalize(first: Weights, second: Weights) -> Array:
    """Scale the channels between two layers so that both sides have equal ranges; gives the base-2 logarithms."""
    made = np.maximum(largest(first.by_result), np.abs(first.bias))
    read = largest(second.by_operand)
    alive = (made > NEGLIGIBLE * made.max()) & (read > NEGLIGIBLE * read.max())
    scale = np.sqrt(np.divide(read, made, out=np.ones_like(made), where=alive))
    first.scale_results(scale)
    second.scale_operands(1 / scale)
    return np.log2(scale)


def largest(weight: Array) -> Array:
    """The largest magnitude along the first axis [c, ...] -> [c]."""
    return np.asarray(np.abs(weight).reshape(len(weight), -1).max(axis=1))
