"""Legalization: express a graph by operators that have rules in some table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphopt.errors import Unsupported
from graphopt.ir import Constant, Graph, Input, Node, Op, Value, rebuild
from graphopt.rewrite.driver import stamp

Parts = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]
"""Replacements for the results of a node, made from its new operands; None keeps the node."""


def legalize(
    graph: Graph,
    has_rule: Callable[[Node], bool],
    refusal: Callable[[str], Unsupported],
    instead: Mapping[type[Op], Parts] = {},
) -> Graph:
    """Decompose every operator that has no rule, recursively.

    The parts of a node have its name and its origins. ``instead`` maps operator classes to parts that are preferred to
    a rule. If nodes have neither a rule nor a decomposition, it raises ``refusal`` of their names.
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
