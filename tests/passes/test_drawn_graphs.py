"""Every pass on drawn graphs: valid results, unchanged signatures, contracts in float64 and float32, idempotence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from graphopt.ir import Graph, cast_floats, evaluate, verify
from graphopt.passes import Pass, Pipeline, default_pipeline, optimize
from graphopt.passes.contract import random_inputs
from graphopt.testing import assert_equivalent, check_pass, random_graph
from graphopt.testing.strategies import graphs

ALL: list[Pass] = list({p.name: p for p in default_pipeline()}.values())
IDS = [p.name for p in ALL]


@pytest.mark.parametrize("pass_", ALL, ids=IDS)
@given(graph=graphs())
def test_pass_keeps_its_promises(pass_: Pass, graph: Graph) -> None:
    check_pass(pass_, graph)


@given(graph=graphs())
def test_the_default_pipeline_keeps_the_meaning(graph: Graph) -> None:
    double = cast_floats(graph, "float64")
    assert_equivalent(double, optimize(double), rtol=1e-9, atol=1e-12)


@given(graph=graphs(max_ops=5))
def test_the_default_pipeline_holds_every_contract_on_the_way(graph: Graph) -> None:
    verify(optimize(graph, check=True))


@given(graph=graphs(symbolic=False))
def test_float32_follows_float64(graph: Graph) -> None:
    double = cast_floats(graph, "float64")
    inputs = random_inputs(graph, seed=1)
    exact = evaluate(double, {name: a.astype("float64") for name, a in inputs.items()})
    for want, got in zip(exact, evaluate(graph, inputs), strict=True):
        assert want.shape == got.shape
        assert got.dtype.kind != "f" or abs(want - got).max(initial=0) <= 1e-4 * max(1.0, abs(want).max(initial=0))


@given(graph=graphs(symbolic=True))
def test_passes_commute_with_binding_the_batch(graph: Graph) -> None:
    result = optimize(graph)
    for batch in (1, 4):
        assert_equivalent(graph, result, rtol=1e-4, atol=1e-6, batch=batch)


@pytest.mark.slow
@pytest.mark.parametrize("pass_", ALL, ids=IDS)
@settings(max_examples=2000)
@given(graph=graphs(max_ops=12))
def test_pass_keeps_its_promises_on_many(pass_: Pass, graph: Graph) -> None:
    check_pass(pass_, graph)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_pipelines_on_many_seeds(block: int) -> None:
    for seed in range(500 * block, 500 * (block + 1)):
        graph = random_graph(seed, max_ops=12)
        result = Pipeline(default_pipeline(), check=True)(graph)
        assert_equivalent(graph, result, rtol=1e-4, atol=1e-6, seed=7)
