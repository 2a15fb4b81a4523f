"""Patterns are data: trees of operator applications over holes, written as ordinary calls.

The idea of writing a pattern as the calls it matches is onnxscript's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphopt.ir import Graph, Op, Value


class Const(Value):
    """Annotation of a hole that only a constant may fill; read its array from ``.constant``."""


@dataclass(frozen=True, eq=False)
class Hole:
    """Matches any value, or any constant. Used twice, it must match the same value twice."""

    name: str
    constant: bool = False


@dataclass(frozen=True, eq=False)
class Apply:
    """Matches the application of one of several operators; binds the operator to a name."""

    ops: tuple[type[Op], ...]
    args: tuple[Apply | Hole, ...]
    name: str


@dataclass(frozen=True)
class OpPattern:
    """Placeholder of an operator in a pattern: calling it gives an ``Apply``."""

    ops: tuple[type[Op], ...]
    name: str

    def __call__(self, *args: Apply | Hole) -> Apply:
        return Apply(self.ops, args, self.name)


Report = Callable[[str], None]


@dataclass(frozen=True)
class Match:
    """The bindings of the names of a pattern, and the values that its applications matched, the root first."""

    bindings: Mapping[str, Any]
    values: tuple[Value, ...]


def match(pattern: Apply, root: Value, graph: Graph, report: Report) -> Iterator[Match]:
    """Every match of the pattern at ``root``; ``report`` gets the reasons why it does not match.

    Inner values must have one use, so that the rewrite leaves no second copy of them.
    Commutative operators of two operands are tried in both orders.
    """
    yield from _match_all([(pattern, root)], Match({}, ()), graph, report)


def _match_all(todo: list[tuple[Apply | Hole, Value]], found: Match, graph: Graph, report: Report) -> Iterator[Match]:
    if not todo:
        yield found
        return
    (pattern, value), rest = todo[0], todo[1:]
    where = graph.names[value.node]
    if isinstance(pattern, Hole):
        if pattern.constant and value.constant is None:
            report(f"{pattern.name} ({where}) is not constant")
        elif found.bindings.get(pattern.name, value) is not value:
            report(f"{pattern.name} would stand for two values")
        else:
            yield from _match_all(rest, Match({**found.bindings, pattern.name: value}, found.values), graph, report)
        return
    if not isinstance(value.op, pattern.ops) or len(value.node.inputs) != len(pattern.args):
        return
    if found.values and graph.use_count(value) != 1:
        report(f"{where} has {graph.use_count(value)} uses")
        return
    found = Match({**found.bindings, pattern.name: value.op}, (*found.values, value))
    orders = [value.node.inputs]
    if value.op.commutative and len(pattern.args) == 2:
        orders.append(value.node.inputs[::-1])
    for inputs in orders:
        yield from _match_all([*zip(pattern.args, inputs, strict=True), *rest], found, graph, report)
