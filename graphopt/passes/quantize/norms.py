"""Batch norms after layers with quantized weights, folded into the scales of these weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ops import BatchNorm, Conv, Dequantize, Linear
from graphopt.passes.fold.batch_norm import normalisation
from graphopt.passes.fold.channels import ChannelAffine
from graphopt.passes.quantize.form import dequantized
from graphopt.rewrite import Decline


def with_folded_norms(graph: Graph) -> Graph:
    """The graph without batch norms after layers of dequantized data and weights, as in QONNX.

    The factor of a channel goes into the scale of its weights, its sign into their integers, the shift into the bias.
    A norm stays if its layer has other readers, if it would negate a lowest integer, or if a factor is zero.
    """
    uses = graph.use_count

    def fold(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        layer = inputs[0].node if inputs else node
        if not isinstance(node.op, BatchNorm) or not isinstance(layer.op, Conv | Linear):
            return None
        if uses(node.inputs[0]) > 1 or node.inputs[0].type.rank < 2 or dequantized(layer.inputs[0]) is None:
            return None
        if isinstance(layer.op, Linear) and node.inputs[0].type.rank != 2:
            return None
        try:
            _, scale, bias, mean, var = inputs
            folded = folded_layer(layer, normalisation(node.op, scale, bias, mean, var))
        except Decline:
            return None
        return (
            None if folded is None else (layer.op(*folded, name=layer.name, origins=(*layer.origins, *node.origins)),)
        )

    return rebuild(graph, fold)


def folded_layer(layer: Node, affine: ChannelAffine) -> tuple[Value, Value, Value] | None:
    """The operands of a layer, with the scale and shift of its results in weights and bias; None if that fails."""
    x, weight, bias = layer.inputs
    w, b = dequantized(weight), fixed(bias)
    if w is None or w.array is None or b is None or w.zero_point or w.axis not in (None, 0):
        return None
    column = (-1, *(1,) * (w.array.ndim - 1))
    integers = w.array.astype(np.int64) * np.sign(affine.scale).astype(np.int64).reshape(column)
    if not affine.scale.all() or integers.max(initial=0) > np.iinfo(w.dtype).max:
        return None
    scale = (w.scale * np.abs(affine.scale)).astype(np.float32)
    made = Dequantize(axis=0)(
        constant(integers.astype(w.dtype), like=weight.node.inputs[0]),
        constant(scale, like=weight.node.inputs[1]),
        constant(np.zeros(scale.shape, w.dtype), like=weight.node.inputs[2]),
        name=weight.node.name,
        origins=weight.node.origins,
    )
    shifted = (b.astype(np.float64) * affine.scale + affine.shift).astype(np.float32)
    return x, made, constant(shifted, like=bias if bias.constant is not None else bias.node.inputs[0])


def fixed(value: Value) -> Array | None:
    """The numbers of a constant, dequantized or not."""
    if not isinstance(value.op, Dequantize):
        return value.constant
    arrays = [v.constant for v in value.node.inputs if v.constant is not None]
    return value.op.evaluate(*arrays) if len(arrays) == len(value.node.inputs) else None
