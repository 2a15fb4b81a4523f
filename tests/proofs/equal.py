"""Run a rule of graphopt on a graph of unknown numbers, and prove that the graph it makes computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import z3

from graphopt.ir import REGISTRY, Constant, Graph, Input, Value, arg, topological
from graphopt.ir import graph as graph_module
from graphopt.ops import Binary, Unary
from graphopt.passes.fold import channels
from graphopt.rewrite import RewriteLog, Rule, rewrite
from proofs.terms import Current, Term, Terms, bare, difference, lifted, paths, unknowns

REALS = z3.RealSort()


class Opaque(Unary, name="opaque_for_proofs"):
    """Any function: nothing is known of it."""

    def evaluate(self, *inputs: Any) -> Any:
        return opaque("f", *inputs)


class OpaquePair(Binary, name="opaque_pair_for_proofs"):
    """Any function of two operands that broadcast."""

    def evaluate(self, *inputs: Any) -> Any:
        return opaque("g", *inputs)


for op in (Opaque, OpaquePair):
    del REGISTRY[op.name]  # property tests draw from what is registered


def opaque(name: str, *inputs: Any) -> Any:
    function = z3.Function(name, *[REALS] * (len(inputs) + 1))
    return np.frompyfunc(lambda *x: Term(function(*map(lifted, x))), len(inputs), 1)(*inputs)


def x(*shape: int, name: str = "x") -> Value:
    return arg(name, "float64", shape)


def unknown(name: str, *shape: int) -> Value:
    """A constant of which nothing is known."""
    return Constant(value=unknowns(name, *shape))(name=name)


@contextmanager
def terms_kept() -> Iterator[None]:
    """Arrays of terms stay what they are where numpy or the graph would make plain arrays of them."""
    frozen, times = graph_module.frozen, channels.times
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "asarray", np.asanyarray)
        patch.setattr(
            graph_module, "frozen", lambda data, *how: data if isinstance(data, Terms) else frozen(data, *how)
        )
        # of terms there is no product in float64
        patch.setattr(channels, "times", lambda a, b, dtype: a * b if isinstance(a, Terms) else times(a, b, dtype))
        yield


def evaluated(graph: Graph) -> list[Any]:
    """The outputs of a graph by its operators' own evaluation, for inputs of which nothing is known."""
    found: dict[Value, Any] = {v: unknowns(v.node.name, *v.type.static_shape) for v in graph.inputs}
    for node in graph.nodes:
        if node.results[0] not in found:
            results = node.op.evaluate(*(found[v] for v in node.inputs))
            for value, array in zip(node.results, results if isinstance(results, tuple) else (results,), strict=True):
                found[value] = np.asanyarray(bare(array), object).view(Terms)
    return [found[v] for v in graph.outputs]


@dataclass(frozen=True)
class Case:
    """A rule, and a value that it rewrites."""

    rule: Rule
    name: str
    build: Callable[[], Value]

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.name}"


def graph_of(y: Value) -> Graph:
    """The graph of a value."""
    return Graph(tuple(n.results[0] for n in topological([y]) if isinstance(n.op, Input)), (y,))


def prove(case: Case) -> None:
    """Raises ``AssertionError`` where the rule is wrong, or never fires."""
    assert times_proved(case.rule, lambda: graph_of(case.build())) > 0, f"{case.rule.name} has not fired"


def times_proved(rule: Rule, build: Callable[[], Graph]) -> int:
    """On how many ways through it the rule fires, proved on each. Raises ``AssertionError`` where it is wrong."""

    def run() -> tuple[bool, list[Any], list[Any]]:
        graph, log = build(), RewriteLog()
        before = evaluated(graph)
        Current.path.grants = False  # a rule divides by nothing that may be zero where the graph did not
        new = rewrite(graph, [rule], log, limit=1)
        return bool(log.fired), before, evaluated(new)

    fired = 0
    with terms_kept():
        for path, (did, before, after) in paths(run):
            fired += did
            for a, b in zip(before, after, strict=True):
                claim = difference(a, b)
                answer = z3.unsat if claim is None else path.solver.check(claim)
                found = path.solver.model() if answer == z3.sat else answer
                assert answer == z3.unsat, f"{rule.name} is not proved: {found}"
    return fired
