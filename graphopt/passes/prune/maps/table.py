"""The tables of index maps and of shrink rules, and the decorators that fill them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from graphopt.ir import Array, Graph, Node, Op, Value
from graphopt.ir.registry import Table
from graphopt.passes.prune.maps.symbols import symbol_axes
from graphopt.passes.prune.relations import ChannelAxis, Relations

Relate = Callable[[Node, Relations], None]
Kept = Mapping[ChannelAxis, Array]
"""The kept indices, in order, of each axis that shrinks."""

Shrink = Callable[[Node, tuple[Value, ...], Kept], Sequence[Value]]
"""The results of a node on operands that have shrunk already; the keys of ``kept`` are values of the old node."""

MAPS: Table[type[Op], Relate] = Table("an index map")
SHRINKS: Table[type[Op], Shrink] = Table("a way to shrink")

F = TypeVar("F", Relate, Shrink)


def channel_map(*ops: type[Op]) -> Callable[[Relate], Relate]:
    """Register a function as the index map of operators and their subclasses.

    The function records the relations of a node: which elements are removed together (``link``, ``join``), which must
    stay and why (``keep``), and over which axes the node sums (``contract``). Other elements may be removed freely.
    """

    def register(function: Relate) -> Relate:
        MAPS.enter(function, *ops)
        return function

    return register


def shrinks(*ops: type[Op]) -> Callable[[Shrink], Shrink]:
    """Register how operators with sizes among their attributes are applied to smaller operands; others need no rule."""

    def register(function: Shrink) -> Shrink:
        SHRINKS.enter(function, *ops)
        return function

    return register


def keep_all(node: Node, relations: Relations, why: str) -> None:
    for value in (*node.inputs, *node.results):
        relations.keep_value(value, why)


def relate(graph: Graph) -> Relations:
    """All relations of a graph. Around an operator without an index map, nothing shrinks."""
    relations = Relations(graph)
    for node in graph.nodes:
        rule = MAPS.find(type(node.op))
        if rule is None:
            keep_all(node, relations, MAPS.reason(type(node.op)) or f"{node.op.name} has no channel map")
        else:
            rule(node, relations)
    for place, why in symbol_axes(graph):
        relations.keep_symbols(place, why)
    for value in graph.inputs:
        relations.keep_value(value, "it is a graph input")
    for value in graph.outputs:
        relations.keep_value(value, "it is a graph output")
    return relations


def shrink(node: Node, inputs: tuple[Value, ...], kept: Kept) -> Sequence[Value]:
    """The results of a node on operands that have shrunk."""
    rule = SHRINKS.find(type(node.op))
    return rule(node, inputs, kept) if rule else node.with_inputs(inputs).results
