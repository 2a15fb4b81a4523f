"""Bisection names the pass, the rule and the node; GRAPHOPT_DEBUG tells of passes; rewrites can be limited."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from graphopt.errors import ContractViolation, InvalidGraph, InvalidInput
from graphopt.ir import Graph, Node, Value, arg, constant
from graphopt.ops import Add, LeakyRelu, Neg, Relu
from graphopt.passes import PASSES, Context, Exact, Pass, Pipeline, RemoveIdentities, RewritePass, bisect
from graphopt.report import graph_diff
from graphopt.rewrite import RewriteLog, node_rule, rewrite


@node_rule(LeakyRelu)
def gentle(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """A right rule: at alpha 0 a leaky ReLU is a ReLU."""
    return Relu()(*inputs) if node.op == LeakyRelu(alpha=0.0) else None


@node_rule(LeakyRelu)
def rash(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """A wrong one: at alpha 0.5 it is not."""
    return Relu()(*inputs) if node.op == LeakyRelu(alpha=0.5) else None


@node_rule(Neg)
def broken(node: Node, inputs: tuple[Value, ...]) -> Value:
    return constant(np.zeros(1, np.float32))


@pytest.fixture
def passes() -> Iterator[dict[str, Pass]]:
    known = dict(PASSES)

    class Rash(RewritePass, name="rash", contract=Exact()):
        rules = (gentle, rash)

    class Broken(RewritePass, name="broken", contract=Exact()):
        rules = (broken,)

    class Whole(Pass, name="whole", contract=Exact()):
        def run(self, graph: Graph, context: Context) -> Graph:
            return rewrite(graph, [rash])

    yield {"rash": Rash(), "broken": Broken(), "whole": Whole()}
    PASSES.clear()
    PASSES.update(known)


def net() -> Graph:
    x = arg("x", "float32", (2, 3))
    y = LeakyRelu(alpha=0.0)(x, name="a")
    y = LeakyRelu(alpha=0.0)(Add()(y, x, name="sum"), name="b")
    y = LeakyRelu(alpha=0.5)(Add()(y, x), name="c")
    y = LeakyRelu(alpha=0.5)(Add()(y, x), name="d")
    return Graph((x,), (LeakyRelu(alpha=0.0)(y, name="e"), Neg()(y, name="n")))


def test_the_first_pass_rule_and_node_are_found(passes: dict[str, Pass]) -> None:
    found = bisect(net(), [RemoveIdentities(), passes["rash"], passes["broken"]])
    assert found is not None and found.after is not None
    assert (found.pass_.name, found.rule, found.node) == ("rash", "rash", "c")
    assert isinstance(found.error, ContractViolation)
    changed = [line for line in graph_diff(found.before, found.after).splitlines() if line[0] in "+-"][2:]
    assert len(changed) == 2 and "%c = leaky_relu" in changed[0] and "%c = relu" in changed[1]


def test_a_pass_without_rules_is_named(passes: dict[str, Pass]) -> None:
    found = bisect(net(), [passes["whole"]])
    assert found is not None and (found.pass_.name, found.rule, found.node) == ("whole", None, None)
    assert found.after is not None


def test_a_rule_that_breaks_types_is_found(passes: dict[str, Pass]) -> None:
    found = bisect(net(), [passes["broken"]])
    assert found is not None and (found.pass_.name, found.node, found.after) == ("broken", "n", None)
    assert isinstance(found.error, InvalidGraph)


def test_sound_passes_have_no_culprit() -> None:
    assert bisect(net(), [RemoveIdentities()]) is None


def test_rewrites_can_be_limited() -> None:
    full = RewriteLog()
    rewrite(net(), [gentle, rash], full)
    assert len(full.fired) == 5
    for limit in range(6):
        log = RewriteLog()
        rewrite(net(), [gentle, rash], log, limit=limit)
        assert log.fired == full.fired[:limit]


@pytest.mark.parametrize("level", ["", "0", "1", "2", "3"])
def test_debug_levels(level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GRAPHOPT_DEBUG", level)
    x = arg("x", "float32", (2,))
    Pipeline([RemoveIdentities()])(Graph((x,), (Relu()(Relu()(x, name="a"), name="b"),)))
    text = capsys.readouterr().err
    assert ("graphopt: remove-identities: 3 -> 2 nodes, " in text) == (level not in ("", "0"))
    assert ("graphopt:   b: " in text) == (level in ("2", "3"))
    assert ("graph graph(%x: float32[2]) {" in text) == (level == "3")


def test_unknown_debug_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHOPT_DEBUG", "loud")
    with pytest.raises(InvalidInput, match="GRAPHOPT_DEBUG: there is no level 'loud'"):
        Pipeline([RemoveIdentities()])(net())
