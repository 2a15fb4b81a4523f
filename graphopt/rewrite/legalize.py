"""Legalization: a graph by the operators that something has rules for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphopt.errors import Unsupported
from graphopt.ir import Constant, Graph, Input, Node, Op, Value, rebuild
from graphopt.rewrite.driver import stamp

Parts = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]
"""What stands for the results of a node, made of the new operands; None leaves the node as it is."""


def legalize(
    graph: Graph,
    has_rule: Callable[[Node], bool],
    refusal: Callable[[str], Unsupported],
    instead: Mapping[type[Op], Parts] = {},
) -> Graph:
    """Decompose every operator that has no rule, again and again.

    What comes of a node has its name and its origins. ``instead`` has, by operator class, parts that are preferred to
    a rule. Raises what ``refusal`` makes of the names of the nodes that have neither a rule nor a decomposition.
    """
    stuck: list[str] = []
    changed = True

    def lower(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        nonlocal changed
        kind = type(node.op)
        parts = instead[kind](node, inputs) if kind in instead else None
        if parts is None:
            if isinstance(node.op, Input | Constant) or has_rule(node):
                return None
            parts = node.op.decompose(*inputs)
        if parts is None:
            stuck.append(f"{node.name or node.op.name} ({node.op.name})")
            return None
        changed = True
        return stamp(parts, node, node.results, {v.node for v in inputs})

    while changed:
        changed = False
        graph = rebuild(graph, lower)
        if stuck:
            raise refusal(", ".join(stuck))
    return graph
