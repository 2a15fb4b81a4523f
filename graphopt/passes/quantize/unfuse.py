"""Take fused nodes apart, for passes that need the layers in them."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.ir import Graph, Node, Value, rebuild
from graphopt.ops import Fused
from graphopt.passes.base import Context, Note


def unfused(graph: Graph, context: Context, pass_name: str) -> Graph:
    """The graph with fused float nodes replaced by their bodies; fused integer nodes stay.

    The nodes of a body keep their names. A note says so, since the graph must then be fused again.
    """
    closed = {node for node in graph.nodes if isinstance(node.op, Fused) and node.types[0].is_float}
    if not closed:
        return graph
    text = f"it was fused already: {len(closed)} nodes are opened; fuse comes last, run it again"
    context.notes.append(Note(pass_name, graph.name, text))

    def opened(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return node.op.decompose(*inputs) if node in closed else None

    return rebuild(graph, opened)
