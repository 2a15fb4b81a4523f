"""Bisection: find the pass that breaks a graph, and the rewrite in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphopt.errors import ContractViolation, GraphoptError, InvalidGraph
from graphopt.ir import Graph, verify
from graphopt.passes.base import Context, Pass, RewritePass
from graphopt.passes.contract import Inputs, check_contract
from graphopt.rewrite import RewriteLog, rewrite

Transform = Callable[[Graph], Graph]


@dataclass(frozen=True)
class Culprit:
    """The first step that breaks its contract: a pass, or the one firing of a rule in it.

    ``before`` and ``after`` are the graphs around the step; ``after`` is None if it raises an error.
    """

    pass_: Pass
    rule: str | None
    node: str | None
    error: GraphoptError
    before: Graph
    after: Graph | None


def bisect(graph: Graph, passes: Sequence[Pass], samples: Sequence[Inputs] = ()) -> Culprit | None:
    """The first pass that breaks its contract on this graph, and its first wrong rewrite; None if no pass does.

    A pass that raises an error, or whose result does not verify, also counts as broken.
    """
    for pass_ in passes:
        error = violation(pass_, graph, pass_, samples)
        if error is not None:
            return narrow(graph, pass_, error, samples)
        graph = pass_.run(graph, Context())
    return None


def violation(transform: Transform, graph: Graph, pass_: Pass, samples: Sequence[Inputs]) -> GraphoptError | None:
    """The error of a transformation, or of its check against the contract of a pass; None if there is none."""
    try:
        verify(transform(graph))
        check_contract(transform, graph, pass_.contract, pass_.name, samples)
    except (ContractViolation, InvalidGraph) as error:
        return error
    return None


def narrow(graph: Graph, pass_: Pass, error: GraphoptError, samples: Sequence[Inputs]) -> Culprit:
    """The first firing of a rule that breaks the pass, found by limiting how often its rules fire."""
    if not isinstance(pass_, RewritePass) or type(pass_).run is not RewritePass.run:
        return Culprit(pass_, None, None, error, graph, attempt(pass_, graph))

    def limited(count: int) -> Transform:
        return lambda g: rewrite(g, pass_.rules, limit=count)

    good, bad = 0, firings(pass_, graph)
    while good + 1 < bad:
        middle = (good + bad) // 2
        found = violation(limited(middle), graph, pass_, samples)
        if found is None:
            good = middle
        else:
            bad, error = middle, found
    log = RewriteLog()
    before = limited(bad - 1)(graph) if bad else graph
    try:
        after = rewrite(graph, pass_.rules, log, limit=bad)
    except InvalidGraph as raised:
        return Culprit(pass_, None, raised.where, error, before, None)
    rule, node = log.fired[-1] if log.fired else (None, None)
    return Culprit(pass_, rule, node, error, before, after)


def firings(pass_: RewritePass, graph: Graph) -> int:
    """The number of firings of the rules of a pass, up to the first error."""
    log = RewriteLog()
    try:
        rewrite(graph, pass_.rules, log)
    except InvalidGraph:
        return len(log.fired) + 1
    return len(log.fired)


def attempt(pass_: Pass, graph: Graph) -> Graph | None:
    try:
        return pass_.run(graph, Context())
    except GraphoptError:
        return None
