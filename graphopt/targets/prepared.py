"""Graphs as they are lowered: outputs with buffers of their own, a layer that takes pushed rows, layouts of values."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.ir import Constant, Graph, Input, Node, Op, Value, rebuild
from graphopt.ops import Identity, Reshape
from graphopt.targets.kernels import has_kernel
from graphopt.targets.layout import Layout, assign_layouts
from graphopt.targets.ports import PortOptions
from graphopt.targets.scalars import SCALARS


def lowered_operators() -> set[type[Op]]:
    """The operators that need not be decomposed."""
    return {*(op for op, _ in SCALARS), *has_kernel()}


def storage(value: Value) -> Value:
    """The value whose buffer holds this one: a reshape has its operand's."""
    while isinstance(value.op, Reshape):
        value = value.node.inputs[0]
    return value


def copy_outputs(graph: Graph) -> Graph:
    """Put a copy before every output without a buffer of its own: an input, a constant, one shared with another."""
    taken: set[Value] = set()
    outputs = []
    for output in graph.outputs:
        held = storage(output)
        if held in taken or isinstance(held.op, Input | Constant):
            output = Identity()(output, name=graph.names[output.node] + ".copy", origins=output.node.origins)
        taken.add(held)
        outputs.append(output)
    return Graph(graph.inputs, tuple(outputs), graph.output_names, graph.name)


def with_taking(graph: Graph, pushed: str) -> Graph:
    """The graph with a layer that takes the rows of an input, for all readers of that."""
    (value,) = (v for v in graph.inputs if graph.names[v.node] == pushed)
    taken = Identity()(value, name=f"{pushed}.rows")

    def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return node.with_inputs([taken if v is value else v for v in inputs]).results if value in inputs else None

    return rebuild(graph, replaced)


def dense_layouts(graph: Graph, options: PortOptions) -> dict[Value, Layout]:
    """A layout for every value, in a buffer of its own."""
    ports = [(graph.names[v.node], v) for v in graph.inputs]
    ports += zip(graph.output_names, graph.outputs, strict=True)
    return assign_layouts(graph, {v for name, v in ports if name in options.channels_last})
