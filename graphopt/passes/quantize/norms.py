"""Batch norms after layers with quantized weights, folded into the scales of these weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ir.qparams import MIN_SCALE
from graphopt.ops import BatchNorm, Conv, Dequantize, Linear
from graphopt.passes.fold.batch_norm import normalisation
from graphopt.passes.fold.channels import ChannelAffine
from graphopt.passes.quantize.form import BIAS_STEPS, binarized, dequantized
from graphopt.rewrite import Decline


def is_norm_of_layer(graph: Graph, node: Node) -> bool:
    """Whether a node is a batch norm along the channels of a convolution or linear layer that nothing else reads."""
    if not isinstance(node.op, BatchNorm) or not isinstance(node.inputs[0].op, Conv | Linear):
        return False
    x = node.inputs[0]
    return graph.use_count(x) == 1 and (x.type.rank == 2 or (x.type.rank > 2 and isinstance(x.op, Conv)))


def with_folded_norms(graph: Graph) -> Graph:
    """The graph without batch norms after layers of dequantized data and weights, as in QONNX.

    The factor of a channel goes into the scale of its weights, its sign into their integers, the shift into the bias.
    If the scale would be too small for the bias, as for a factor of zero, the scale is larger and the integers are
    smaller; binary weights stay. A norm stays if its layer has other readers, or if it would negate a lowest integer.
    """

    def fold(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not is_norm_of_layer(graph, node):
            return None
        layer, (scale, bias, mean, var) = inputs[0].node, inputs[1:]
        try:
            assert isinstance(node.op, BatchNorm)
            folded = folded_layer(layer, normalisation(node.op, scale, bias, mean, var))
        except Decline:
            return None
        origins = (*layer.origins, *node.origins)
        return None if folded is None else (layer.op(*folded, name=layer.name, origins=origins),)

    return rebuild(graph, fold)


def folded_layer(layer: Node, affine: ChannelAffine) -> tuple[Value, Value, Value] | None:
    """The operands of a layer, with the scale and shift of its results in weights and bias; None if that fails."""
    x, weight, bias = layer.inputs
    data, w, b = dequantized(x) or binarized(x), dequantized(weight), fixed(bias)
    if data is None or w is None or w.array is None or b is None or w.zero_point or w.axis not in (None, 0):
        return None
    column = (-1, *(1,) * (w.array.ndim - 1))
    shifted = b.astype(np.float64) * affine.scale + affine.shift
    wanted = w.scale * affine.scale
    least = np.abs(shifted) / (float(np.max(data.scale)) * BIAS_STEPS)
    scale = np.maximum(np.maximum(np.abs(wanted), least), MIN_SCALE).astype(np.float32)
    factor = np.where(wanted < 0, -1, 1) if np.all(np.abs(w.array) == 1) else wanted / scale
    integers = np.rint(w.array * factor.reshape(column))
    if integers.max(initial=0) > np.iinfo(w.dtype).max:
        return None
    made = Dequantize(axis=0)(
        constant(integers.astype(w.dtype), like=weight.node.inputs[0]),
        constant(scale, like=weight.node.inputs[1]),
        constant(np.zeros(scale.shape, w.dtype), like=weight.node.inputs[2]),
        name=weight.node.name,
        origins=weight.node.origins,
    )
    like = bias if bias.constant is not None else bias.node.inputs[0]
    return x, made, constant(shifted.astype(np.float32), like=like)


def fixed(value: Value) -> Array | None:
    """The numbers of a constant, dequantized or not."""
    if not isinstance(value.op, Dequantize):
        return value.constant
    arrays = [v.constant for v in value.node.inputs if v.constant is not None]
    return value.op.evaluate(*arrays) if len(arrays) == len(value.node.inputs) else None
