"""Counts of multiply-accumulates."""

from __future__ import annotations

from graphopt.ir import Graph, Node, bind_batch


def macs_of(node: Node) -> int:
    """The multiply-accumulates of a bound node. Convolutions and matrix products have them, on floats or integers."""
    return node.op.macs([v.type for v in node.inputs], node.types)


def count_macs(graph: Graph, batch: int = 1) -> int:
    """The multiply-accumulates of a graph at a batch size."""
    return sum(macs_of(n) for n in bind_batch(graph, batch).nodes)
