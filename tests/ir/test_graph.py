"""Graphs: order, uses, names, rebuilding, binding, casting, evaluation and verification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from graphopt.errors import InvalidGraph, InvalidInput
from graphopt.ir import (
    Batch,
    Constant,
    Graph,
    Node,
    TensorType,
    Value,
    arg,
    bind_batch,
    cast_floats,
    constant,
    evaluate,
    rebuild,
    topological,
    verify,
)
from graphopt.ops import Add, Expand, Mul, Neg, Relu, Reshape, Split
from graphopt.passes.contract import random_inputs
from graphopt.testing.strategies import graphs

X = arg("x", "float32", (Batch(), 4))


@given(graph=graphs())
def test_nodes_stand_behind_their_producers_once(graph: Graph) -> None:
    place = {node: i for i, node in enumerate(graph.nodes)}
    assert len(place) == len(graph.nodes)
    assert all(place[v.node] < place[node] for node in graph.nodes for v in node.inputs)
    assert sum(map(len, graph.uses.values())) == sum(len(n.inputs) for n in graph.nodes)
    assert len(set(graph.names.values())) == len(graph.nodes)


@given(graph=graphs())
def test_rebuilding_without_change_keeps_every_node(graph: Graph) -> None:
    assert rebuild(graph, lambda node, inputs: None).nodes == graph.nodes


@given(graph=graphs(symbolic=True))
def test_bound_and_cast_graphs_verify(graph: Graph) -> None:
    assert graph.is_symbolic
    bound = cast_floats(bind_batch(graph, 3), "float64")
    verify(bound)
    assert not bound.is_symbolic
    assert {t.dtype for n in bound.nodes for t in n.types if t.is_float} == {"float64"}


@given(graph=graphs(symbolic=True))
def test_batch_is_read_off_the_inputs(graph: Graph) -> None:
    bound = bind_batch(graph, 3)
    inputs = random_inputs(bound, seed=3)
    for want, got in zip(evaluate(bound, inputs), evaluate(graph, inputs), strict=True):
        np.testing.assert_array_equal(want, got)


def test_topological_stops_at_what_is_known() -> None:
    a = Neg()(X)
    b = Relu()(a)
    assert topological([b]) == (X.node, a.node, b.node)
    assert topological([b], after={a.node}) == (b.node,)
    assert topological([b], after={b.node}) == ()


def test_names_are_made_unique_and_known_ones_suggested() -> None:
    y = Add()(Relu()(X, name="act"), Relu()(X, name="act"), name="act_1")
    graph = Graph((X,), (y,))
    assert list(graph.names.values()) == ["x", "act", "act_2", "act_1"]
    assert graph.node("act_1") is y.node
    with pytest.raises(InvalidInput, match="did you mean act"):
        graph.node("atc")


def test_uses_count_operands_and_outputs() -> None:
    y = Relu()(X)
    graph = Graph((X,), (Mul()(y, y), y))
    assert (graph.use_count(y), graph.use_count(X)) == (3, 1)


def test_batch_arithmetic_stays_in_form_or_is_refused() -> None:
    n = Batch()
    assert (2 * n, n * 3 + n, Batch(6) // 3, Batch(6) // n, n * 0) == (Batch(2), Batch(4), Batch(2), 6, 0)
    for wrong in (lambda: n * n, lambda: n + 1, lambda: Batch(3) // 2, lambda: Batch(0)):
        with pytest.raises(InvalidGraph):
            wrong()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (Graph((X, X), (X,)), "distinct input nodes"),
        (Graph((X,), ()), "no outputs"),
        (Graph((X,), (X, X), ("a", "a")), "output names repeat"),
        (Graph((), (Relu()(X),)), "not among the graph's inputs"),
        (Graph((), (Constant(value=np.zeros(2))(),)), "writeable"),
        (Graph((X,), Node(Relu(), (X,), (TensorType("float32", (4,)),)).results), "its operator gives"),
        (Graph((X,), Node(Reshape(shape=(3,)), (X,), (TensorType("float32", (3,)),)).results), "cannot be reshaped"),
    ],
)
def test_ill_formed_graphs_are_found(graph: Graph, message: str) -> None:
    with pytest.raises(InvalidGraph, match=message):
        verify(graph)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"y": np.zeros((1, 4), np.float32)}, "do not match"),
        ([], "0 inputs given"),
        ([np.zeros((1, 4))], "float64"),
        ([np.zeros((1, 5), np.float32)], "needed"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, np.ndarray] | list[np.ndarray], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        evaluate(Graph((X,), (Relu()(X),)), inputs)


def test_symbolic_attributes_are_bound() -> None:
    row = constant(np.ones((1, 4), np.float32))
    graph = bind_batch(Graph((X,), (Add()(X, Expand(shape=(Batch(), 4))(row)),)), 5)
    assert graph.outputs[0].type.shape == (5, 4)
    with pytest.raises(InvalidInput, match="at least 1"):
        bind_batch(Graph((X,), (X,)), 0)


def test_operator_with_several_results_must_be_applied() -> None:
    with pytest.raises(InvalidGraph, match="2 results"):
        Split(axis=1, sizes=(2, 2))(X)


def test_deep_graphs_do_not_recurse() -> None:
    value: Value = X
    for _ in range(20_000):
        value = Neg()(value)
    graph = Graph((X,), (value,))
    verify(graph)
    data = np.ones((1, 4), np.float32)
    assert np.array_equal(graph(data)[0], data)
    assert bind_batch(graph, 2).outputs[0].type.shape == (2, 4)
    assert len(str(graph).splitlines()) == 20_003
