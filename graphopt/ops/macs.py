"""The multiply-accumulates of operators."""

from __future__ import annotations

import math
from collections.abc import Callable

from graphopt.ir import Graph, Node, Op, bind_batch
from graphopt.ops.binary import ConvXnor
from graphopt.ops.conv import Conv, ConvTranspose
from graphopt.ops.fused import Fused
from graphopt.ops.integer import ConvInteger, ConvTransposeInteger, LinearInteger, MatMulInteger
from graphopt.ops.integer_recurrent import GruSequenceInteger, LstmSequenceInteger, RnnSequenceInteger
from graphopt.ops.linear import Linear, MatMul
from graphopt.ops.recurrent import GRU, LSTM, RNN
from graphopt.ops.sequence import GruSequence, LstmSequence, RnnSequence


def window_macs(node: Node, positions: int) -> int:
    """Kernel elements times channels of a group, at each position."""
    weight = node.inputs[1].type.static_shape
    return positions * math.prod(weight[1:])


def recurrent_macs(node: Node) -> int:
    """Both products of every gate, at each step."""
    steps, n, size = node.inputs[0].type.static_shape
    directions, rows, hidden = node.inputs[2].type.static_shape
    return steps * n * directions * rows * (size + hidden)


def product_macs(node: Node) -> int:
    """The last axis of the left operand, at each element of the result."""
    return math.prod(node.types[0].static_shape) * node.inputs[0].type.static_shape[-1]


def conv_macs(node: Node) -> int:
    return window_macs(node, math.prod(node.types[0].static_shape))


def conv_transpose_macs(node: Node) -> int:
    return window_macs(node, math.prod(node.inputs[0].type.static_shape))


def xnor_macs(node: Node) -> int:
    """As of the convolution of the signs that stand in the words."""
    assert isinstance(node.op, ConvXnor)
    kernel = node.inputs[1].type.static_shape[2:]
    return math.prod(node.types[0].static_shape) * node.op.channels * math.prod(kernel)


def sequence_macs(node: Node) -> int:
    """The products of the states alone: gates [t, n, ...] by weights [rows, h], at each step."""
    steps, n = node.inputs[0].type.static_shape[:2]
    return steps * n * math.prod(node.inputs[1].type.static_shape)


MACS: dict[type[Op], Callable[[Node], int]] = {
    **dict.fromkeys((Conv, ConvInteger), conv_macs),
    **dict.fromkeys((ConvTranspose, ConvTransposeInteger), conv_transpose_macs),
    **dict.fromkeys((Linear, LinearInteger, MatMul, MatMulInteger), product_macs),
    **dict.fromkeys((LSTM, GRU, RNN), recurrent_macs),
    **dict.fromkeys((LstmSequence, GruSequence, RnnSequence), sequence_macs),
    **dict.fromkeys((LstmSequenceInteger, GruSequenceInteger, RnnSequenceInteger), sequence_macs),
    ConvXnor: xnor_macs,
}


def macs_of(node: Node) -> int:
    """The multiply-accumulates of a bound node: those of convolutions and matrix products, on floats or integers."""
    if isinstance(node.op, Fused):
        return sum(macs_of(inner) for inner in node.op.body.nodes)
    rule = MACS.get(type(node.op))
    return rule(node) if rule else 0


def count_macs(graph: Graph, batch: int = 1) -> int:
    """The multiply-accumulates of a graph at a batch size."""
    return sum(macs_of(n) for n in bind_batch(graph, batch).nodes)
