"""Replace splits by slices, since each slice has one result that can be quantized."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.ir import Graph, Node, Value, rebuild
from graphopt.ops import Split
from graphopt.rewrite.driver import stamp


def without_splits(graph: Graph) -> Graph:
    """The graph with slices of float32 in place of splits."""

    def apart(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Split) or node.types[0].dtype != "float32":
            return None
        return stamp(node.op.decompose(*inputs), node, node.results, {v.node for v in inputs})

    return rebuild(graph, apart)
