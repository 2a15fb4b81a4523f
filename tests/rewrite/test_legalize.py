"""Legalization: operators without a rule become their parts, until all have one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from graphopt.errors import Unsupported
from graphopt.ir import Graph, Node, Op, Value, arg
from graphopt.ops import Abs, Mul, Neg, Relu, Sigmoid, Silu, Tanh
from graphopt.rewrite.legalize import Parts, legalize


def legal(graph: Graph, *kinds: type[Op], instead: Mapping[type[Op], Parts] = {}) -> Graph:
    """The graph in terms of operators of these kinds."""
    return legalize(graph, lambda node: isinstance(node.op, kinds), lambda nodes: Unsupported(f"no {nodes}"), instead)


def kinds_of(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes if node.inputs]


def test_parts_have_the_name_and_origins_of_the_node() -> None:
    x = arg("x", "float32", (1, 4))
    graph = Graph((x,), (Silu()(x, name="act", origins=("model.act",)),))
    result = legal(graph, Mul, Sigmoid)
    assert kinds_of(result) == ["sigmoid", "mul"]
    last = result.outputs[0].node
    assert last.name == "act"
    assert {n.origins for n in result.nodes if n.inputs} == {("model.act",)}


def test_a_rule_keeps_what_could_be_decomposed() -> None:
    x = arg("x", "float32", (1, 4))
    assert kinds_of(legal(Graph((x,), (Silu()(x),)), Silu)) == ["silu"]


def test_all_nodes_without_rule_and_parts_are_named() -> None:
    x = arg("x", "float32", (1, 4))
    graph = Graph((x,), (Tanh()(Relu()(Abs()(x, name="first")), name="second"),))
    with pytest.raises(Unsupported, match=r"no first \(abs\), second \(tanh\)"):
        legal(graph, Relu)


def test_parts_instead_of_a_rule_are_for_the_nodes_that_they_choose() -> None:
    def of_named(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return (Neg()(*inputs),) if node.name == "chosen" else None

    x = arg("x", "float32", (1, 4))
    graph = Graph((x,), (Abs()(Abs()(x, name="chosen"), name="other"),))
    assert kinds_of(legal(graph, Abs, Neg, instead={Abs: of_named})) == ["neg", "abs"]
