"""The multiply-accumulates of operators."""

from __future__ import annotations

import math
from collections.abc import Callable

from graphopt.ir import Graph, Node, Op, bind_batch
from graphopt.ops.conv import Conv, ConvTranspose
from graphopt.ops.fused import Fused
from graphopt.ops.linear import Linear, MatMul
from graphopt.ops.recurrent import GRU, LSTM, RNN


def window_macs(node: Node, positions: int) -> int:
    """Kernel elements times channels of a group, at each position."""
    weight = node.inputs[1].type.static_shape
    return positions * math.prod(weight[1:])


def recurrent_macs(node: Node) -> int:
    """Both products of every gate, at each step."""
    steps, n, size = node.inputs[0].type.static_shape
    directions, rows, hidden = node.inputs[2].type.static_shape
    return steps * n * directions * rows * (size + hidden)


MACS: dict[type[Op], Callable[[Node], int]] = {
    Conv: lambda n: window_macs(n, math.prod(n.types[0].static_shape)),
    ConvTranspose: lambda n: window_macs(n, math.prod(n.inputs[0].type.static_shape)),
    Linear: lambda n: math.prod(n.types[0].static_shape) * n.inputs[1].type.static_shape[1],
    MatMul: lambda n: math.prod(n.types[0].static_shape) * n.inputs[0].type.static_shape[-1],
    LSTM: recurrent_macs,
    GRU: recurrent_macs,
    RNN: recurrent_macs,
}


def macs_of(node: Node) -> int:
    """The multiply-accumulates of a bound node: those of convolutions and matrix products."""
    if isinstance(node.op, Fused):
        return sum(macs_of(inner) for inner in node.op.body.nodes)
    rule = MACS.get(type(node.op))
    return rule(node) if rule else 0


def count_macs(graph: Graph, batch: int = 1) -> int:
    """The multiply-accumulates of a graph at a batch size."""
    return sum(macs_of(n) for n in bind_batch(graph, batch).nodes)
