"""The memory of a graph while it runs, node by node: which values are alive, and where they take most."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.ir import Constant, Graph, Input, Node, Value, bind_batch
from graphopt.ops import Identity, Reshape, stored_bytes
from graphopt.ops.macs import macs_of


@dataclass(frozen=True)
class Layer:
    """One computing node: its costs, and the bytes of intermediate values alive while it runs, including its result."""

    name: str
    operator: str
    result: str
    parameter_bytes: int
    macs: int
    live_bytes: int


def held_by(value: Value) -> Value:
    """The value whose memory holds this one; a reshape uses the memory of its operand."""
    while isinstance(value.op, Reshape | Identity):
        value = value.node.inputs[0]
    return value


def layers_of(graph: Graph, batch: int = 1) -> list[Layer]:
    """The computing nodes in order. Inputs and outputs do not count, since the caller has them; constants neither."""
    bound = bind_batch(graph, batch)
    nodes = [n for n in bound.nodes if not isinstance(n.op, Input | Constant)]
    kept = {held_by(v) for v in bound.outputs}
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for step, node in enumerate(nodes):
        for value in (*node.inputs, *node.results):
            held = held_by(value)
            if held not in kept and not isinstance(held.op, Input | Constant):
                first.setdefault(held, step)
                last[held] = step
    changes = [0] * (len(nodes) + 1)
    for value, step in first.items():
        changes[step] += value.type.nbytes
        changes[last[value] + 1] -= value.type.nbytes
    live, found = 0, []
    for node, change in zip(nodes, changes, strict=False):
        live += change
        result = ", ".join(map(str, node.types))
        found.append(Layer(bound.names[node], node.op.name, result, parameter_bytes(node), macs_of(node), live))
    return found


def parameter_bytes(node: Node) -> int:
    """The bytes of the constants that a node reads, as programs store them."""
    return sum(stored_bytes(v) for v in dict.fromkeys(node.inputs) if isinstance(v.op, Constant))


def peak_layer(layers: list[Layer]) -> Layer | None:
    """The layer at which most bytes are alive; None if the graph computes nothing."""
    return max(layers, key=lambda layer: layer.live_bytes, default=None)
