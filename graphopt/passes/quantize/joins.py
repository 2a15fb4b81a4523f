"""Joins of unlike ranges: which concatenations stay float, so that each part keeps a scale of its own."""

from __future__ import annotations

from graphopt.ir import Node, Value
from graphopt.ops import Concat
from graphopt.passes.quantize.parameters import Ranges


def joins_in_float(ranges: Ranges) -> dict[Node, str]:
    """The joins of unlike ranges that stay float, with the reason: those that moves alone connect to a float reader.

    Such a reader is a graph output, or an operator that stays float. It gets the dequantized parts side by side, so a
    common scale loses nothing. A join whose readers compute on integers keeps one scale.
    """
    graph, rules = ranges.partition.graph, ranges.partition.rules
    joined: dict[Node, str] = {}
    for node, rule in rules.items():
        if why := unlike_parts(node, ranges):
            joined[node] = why
        elif (rule.move or isinstance(node.op, Concat)) and any(v.node in joined for v in node.inputs):
            joined[node] = "it moves a join of unlike ranges"
    kept: dict[Node, str] = {}

    def read_as_floats(value: Value) -> bool:
        return value in graph.outputs or any(use not in rules or use in kept for use in graph.uses[value])

    for node in reversed(joined):
        if any(map(read_as_floats, node.results)):
            kept[node] = joined[node]
    return kept


def unlike_parts(node: Node, ranges: Ranges) -> str:
    """Why the ranges of a concatenation's parts are unlike; empty if one scale serves them all."""
    if not isinstance(node.op, Concat):
        return ""
    shared = ranges.own(node.results[0])
    if all(ranges.serves(shared, part) for part in node.inputs):
        return ""
    widths = ", ".join(f"{ranges.width(part) or 0.0:.3g}" for part in node.inputs)
    return f"it joins ranges of widths {widths}, too unlike for one scale"
