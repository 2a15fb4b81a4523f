"""Reduction keeps the failure, the types and N, and leaves little else."""

from __future__ import annotations

import pytest

from graphopt.errors import InvalidInput, Unsupported
from graphopt.ir import Batch, Constant, Graph, Input, verify
from graphopt.ops import LeakyRelu
from graphopt.testing import random_graph
from graphopt.testing.reduce import reduce


def has(graph: Graph, name: str) -> bool:
    return any(n.op.name == name for n in graph.nodes)


@pytest.mark.parametrize("name", ["conv", "leaky_relu", "max_pool", "softmax", "batch_norm"])
def test_one_operator_is_left(name: str) -> None:
    reduced = 0
    for seed in range(1000):
        graph = random_graph(seed, max_ops=10)
        if not has(graph, name):
            continue
        small = reduce(graph, lambda g: has(g, name))
        verify(small)
        left = [n for n in small.nodes if not isinstance(n.op, Input | Constant)]
        assert [n.op.name for n in left] == [name]
        kept = next(n for n in graph.nodes if n.op == left[0].op and n.types == left[0].types)
        assert [v.type for v in kept.inputs] == [v.type for v in left[0].inputs]
        reduced += 1
        if reduced == 4:
            return
    assert reduced


def test_two_operators_that_must_follow_each_other() -> None:
    def fails(graph: Graph) -> bool:
        return any(n.op.name == "relu" and any(v.op.name == "add" for v in n.inputs) for n in graph.nodes if n.inputs)

    seed = next(s for s in range(1000) if fails(random_graph(s, max_ops=10)))
    small = reduce(random_graph(seed, max_ops=10), fails)
    assert sorted(n.op.name for n in small.nodes if not isinstance(n.op, Input | Constant)) == ["add", "relu"]


def test_the_batch_is_kept() -> None:
    seed = next(s for s in range(1000) if has(g := random_graph(s, symbolic=True), "leaky_relu") and g.is_symbolic)
    small = reduce(random_graph(seed, symbolic=True), lambda g: has(g, "leaky_relu"))
    assert any(isinstance(d, Batch) for d in small.inputs[0].type.shape)
    assert any(isinstance(n.op, LeakyRelu) for n in small.nodes)


def test_errors_of_the_predicate_count_as_not_failing() -> None:
    graph = random_graph(0, max_ops=10)

    def fails(g: Graph) -> bool:
        if len(g.nodes) < len(graph.nodes):
            raise Unsupported("smaller graphs")
        return True

    assert reduce(graph, fails) is graph


def test_what_does_not_fail_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not fail"):
        reduce(random_graph(0), lambda g: False)
