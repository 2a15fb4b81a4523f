"""What a graph costs: parameters, multiply-accumulates, activation memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from graphopt.ir import Constant, Graph, Input, Node, Op, bind_batch
from graphopt.ops import GRU, LSTM, RNN, Conv, ConvTranspose, Fused, Linear, MatMul


@dataclass(frozen=True)
class Cost:
    """Costs of a graph, of one node, or of several: counts, and sizes in bytes."""

    parameters: int
    parameter_bytes: int
    macs: int
    largest_activation_bytes: int


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


def cost_of(graph: Graph, batch: int = 1) -> Cost:
    """The costs of a graph at a batch size."""
    bound = bind_batch(graph, batch)
    arrays = [n.op.value for n in bound.nodes if isinstance(n.op, Constant)]
    activations = [sum(t.nbytes for t in n.types) for n in bound.nodes if not isinstance(n.op, Constant | Input)]
    return Cost(
        sum(a.size for a in arrays),
        sum(a.nbytes for a in arrays),
        sum(macs_of(n) for n in bound.nodes),
        max(activations, default=0),
    )
