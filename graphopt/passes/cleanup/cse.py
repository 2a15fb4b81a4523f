"""Common subexpressions: compute equal nodes once."""

from __future__ import annotations

from dataclasses import replace

from graphopt.ir import Constant, Graph, Input, Node, Op, Value
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Exact


class CommonSubexpressions(Pass, name="cse", contract=Exact()):
    """Merge all nodes that apply an equal operator to the same values.

    Operators are equal if they have the same class and attributes. Constants of equal dtype, shape and bytes count as
    the same value, unless only one is compact, but they are not merged: each stays a parameter with its name (the
    lowering stores equal ones once). The operands of commutative operators may stand in any order. Names are not
    compared; the first node keeps its own and gains the origins of those merged into it. Graph inputs, and nodes inside
    fused operators, are never merged.
    """

    def run(self, graph: Graph, context: Context) -> Graph:
        first = self.representatives(graph)
        origins: dict[Node, tuple[str, ...]] = {}
        for node, kept in first.items():
            if not isinstance(node.op, Constant):
                origins[kept] = tuple(dict.fromkeys((*origins.get(kept, ()), *node.origins)))
            if node is not kept and not isinstance(node.op, Constant):
                context.notes.append(Note(self.name, graph.names[node], f"the same as {graph.names[kept]}"))
        new: dict[Value, Value] = {}
        for node, kept in first.items():
            if isinstance(node.op, Constant):
                new.update(zip(node.results, node.results, strict=True))
            elif node is kept:
                made = node.with_inputs([new[v] for v in node.inputs])
                made = made if made.origins == origins[node] else replace(made, origins=origins[node])
                new.update(zip(node.results, made.results, strict=True))
            else:
                new.update((old, new[v]) for old, v in zip(node.results, kept.results, strict=True))
        return replace(graph, inputs=tuple(new[v] for v in graph.inputs), outputs=tuple(new[v] for v in graph.outputs))

    def representatives(self, graph: Graph) -> dict[Node, Node]:
        """For every node, the first node that computes the same."""
        first: dict[Node, Node] = {}
        seen: dict[tuple[Op, tuple[tuple[int, int], ...]], Node] = {}
        place: dict[Node, int] = {}
        for node in graph.nodes:
            operands = [(place[first[v.node]], v.index) for v in node.inputs]
            key = (node.op, tuple(sorted(operands) if node.op.commutative else operands))
            first[node] = node if isinstance(node.op, Input) else seen.setdefault(key, node)
            place[node] = len(place)
        return first
