"""Every registered operator can be drawn, in whole graphs too, and what it gives has the type it promised."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given

from graphopt.errors import InvalidGraph
from graphopt.ir import REGISTRY, Batch, Graph, Shape, arg, bind_batch, evaluate, verify
from graphopt.passes.contract import random_inputs
from graphopt.testing import random_graph
from graphopt.testing.canvas import Drawing
from graphopt.testing.strategies import graphs

BUILT_IN = sorted(n for n, op in REGISTRY.items() if op.__module__.startswith("graphopt.ops"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_operator_can_be_drawn_alone(name: str) -> None:
    found = 0
    for seed in range(60):
        graph = random_graph(seed, max_ops=2, ops=[name])
        verify(graph)
        bound = bind_batch(graph, 2)
        evaluate(bound, random_inputs(bound, seed))  # which checks every type
        found += any(n.op.name == name for n in graph.nodes)
    assert found > 5, f"{name} was drawn {found} times in 60 graphs"


def test_every_operator_appears_in_drawn_graphs() -> None:
    seen: set[str] = set()
    for seed in range(3000):
        seen |= {n.op.name for n in random_graph(seed).nodes}
        if seen >= set(BUILT_IN):
            return
    assert not set(BUILT_IN) - seen


@given(graph=graphs(ops=["conv", "relu", "add"], symbolic=True))
def test_graphs_are_drawn_of_the_operators_asked_for(graph: Graph) -> None:
    assert {n.op.name for n in graph.nodes} <= {"conv", "relu", "add", "input", "constant"}
    assert graph.is_symbolic


@given(graph=graphs(dtype="float64"))
def test_graphs_are_drawn_in_the_dtype_asked_for(graph: Graph) -> None:
    assert {t.dtype for n in graph.nodes for t in n.types if t.is_float} == {"float64"}
    assert {v.type.dtype for v in graph.inputs} == {"float64"}


def test_decompositions_mean_the_same() -> None:
    checked: set[str] = set()
    for seed in range(400):
        graph = bind_batch(random_graph(seed), 2)
        for node in graph.nodes:
            parts = node.op.decompose(*node.inputs)
            if parts is None:
                continue
            checked.add(node.op.name)
            assert tuple(v.type for v in parts) == node.types
            inputs = random_inputs(graph, seed)
            whole = evaluate(Graph(graph.inputs, node.results), inputs)
            for want, got in zip(whole, evaluate(Graph(graph.inputs, parts), inputs), strict=True):
                assert abs(want - got).max(initial=0) <= 1e-5 * max(1.0, abs(want).max(initial=0))
    assert {"silu", "hard_swish", "split", "fused"} <= checked


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (Batch(),), (1, Batch(2)), (2, 3, Batch())], ids=str)
def test_an_operator_draws_or_declines_whatever_it_is_given(name: str, dtype: str, shape: Shape) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        draw = Drawing(lambda low, high: int(rng.integers(low, high + 1)), "float32", True)
        with suppress(InvalidGraph):  # the shapes do not fit
            REGISTRY[name].sample(draw, arg("x", dtype, shape))
