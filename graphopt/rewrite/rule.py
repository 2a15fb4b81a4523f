"""Rules: a pattern, and a function that builds the replacement or declines."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Union, get_args, get_origin, get_type_hints

from graphopt.errors import InvalidInput
from graphopt.ir import Graph, Node, Op, Value
from graphopt.rewrite.pattern import Apply, Const, Hole, OpPattern, Report, match

Results = Value | Sequence[Value] | None
"""The return value of a rule: the new results, or None if it does not apply. ``Decline`` gives a reason instead."""


class Decline(Exception):
    """Raised by a rule that refuses to rewrite at a node, with a reason that a user can read."""


@dataclass(frozen=True)
class Candidate:
    """A place where a rule may apply: the old values that it matched, and how to build the new ones."""

    matched: tuple[Value, ...]
    build: Callable[[Mapping[Value, Value]], Results]


@dataclass(frozen=True, eq=False)
class Rule:
    """A named rewrite. ``candidates`` lists the places where it could rewrite a node."""

    name: str
    roots: tuple[type[Op], ...]
    candidates: Callable[[Node, Graph, Report], Iterator[Candidate]]


def rule(pattern: Callable[..., Apply]) -> Callable[[Callable[..., Results]], Rule]:
    """Make a rule from a function, given the pattern as a call over the function's own parameters.

    A parameter annotated with an operator class (or a union of them) stands for that operator,
    ``Const`` for a constant, ``Value`` for any value:

        @rule(lambda outer, inner, x: outer(inner(x)))
        def merge_relu(outer: Relu, inner: Relu, x: Value) -> Value:
            return inner(x)
    """

    def decorate(build: Callable[..., Results]) -> Rule:
        tree = _read(pattern, _placeholders(pattern, build), build.__name__)
        wanted = tuple(inspect.signature(build).parameters)

        def candidates(node: Node, graph: Graph, report: Report) -> Iterator[Candidate]:
            for found in match(tree, node.results[0], graph, report):
                yield Candidate(found.values, partial(_build, build, found.bindings, wanted))

        return Rule(build.__name__, tree.ops, candidates)

    return decorate


def node_rule(*ops: type[Op]) -> Callable[[Callable[[Node, tuple[Value, ...]], Results]], Rule]:
    """Make a rule from a function over single nodes of the given operators, for rewrites that no pattern can express.

    The function gets the node and its rewritten inputs, and returns the new results, or None if the rule does not
    apply to this node.
    """

    if wrong := [op for op in ops if not (isinstance(op, type) and issubclass(op, Op))] or not ops:
        raise InvalidInput(f"{wrong} are no operators", where="node_rule", advice="write @node_rule(Relu, Clip)")

    def decorate(build: Callable[[Node, tuple[Value, ...]], Results]) -> Rule:
        def candidates(node: Node, graph: Graph, report: Report) -> Iterator[Candidate]:
            yield Candidate(node.results[:1], lambda new: build(node, tuple(new[v] for v in node.inputs)))

        return Rule(build.__name__, ops, candidates)

    return decorate


def _read(pattern: Callable[..., Apply], placeholders: Mapping[str, Hole | OpPattern], where: str) -> Apply:
    """The tree of a pattern, given the placeholder of each of its names."""
    advice = "write calls of the operators over the other names: lambda add, relu, x, y: add(relu(x), y)"
    try:
        tree = pattern(**placeholders)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise InvalidInput("the pattern cannot be read", where=where, why=why, advice=advice) from error
    if not isinstance(tree, Apply):
        raise InvalidInput("the pattern must be the application of an operator", where=where, advice=advice)
    return tree


def _placeholders(pattern: Callable[..., Apply], build: Callable[..., Results]) -> dict[str, Hole | OpPattern]:
    """The placeholder of each name of a pattern, from the annotations of the function."""
    where, names = build.__name__, tuple(inspect.signature(pattern).parameters)
    try:
        hints = get_type_hints(build)
    except NameError as error:
        advice = "import it where the function is, at the top of the file"
        raise InvalidInput("an annotation cannot be read", where=where, why=str(error), advice=advice) from error
    if unknown := [name for name in inspect.signature(build).parameters if name not in names]:
        advice = "the pattern and the function have the same names"
        raise InvalidInput(f"{', '.join(unknown)} is not in the pattern", where=where, advice=advice)
    return {name: _placeholder(name, hints.get(name), where) for name in names}


def _placeholder(name: str, hint: Any, where: str) -> Hole | OpPattern:
    options = get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is Union else (hint,)
    if all(isinstance(o, type) and get_origin(o) is None and issubclass(o, Op) for o in options):
        return OpPattern(options, name)
    if hint not in (Value, Const):
        what = f"{name} has no annotation" if hint is None else f"{name}: {hint} stands for nothing in a pattern"
        advice = f"annotate an operator, {name}: Relu, any value, {name}: Value, or a constant, {name}: Const"
        raise InvalidInput(what, where=where, advice=advice)
    return Hole(name, constant=hint is Const)


def _build(
    build: Callable[..., Results], bindings: Mapping[str, Any], wanted: Sequence[str], new: Mapping[Value, Value]
) -> Results:
    return build(**{name: new[b] if isinstance(b := bindings[name], Value) else b for name in wanted})
