"""Whole drawn graphs, as they are and optimised, compiled for every kind of machine and held to the evaluator."""

from __future__ import annotations

import pytest
from compiling import NATIVE, check_program, in_long_runs, lowerable_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.ir import Graph
from graphopt.passes import optimize

BATCHES = st.sampled_from([1, 3])
EMULATED = ["aarch64", "armv7", "cortex-m4", "cortex-m0"]


def check_drawn(graph: Graph, target: str, optimized: bool, batch: int) -> None:
    check_program(optimize(graph) if optimized else graph, target, reference=graph, batch=batch)


@pytest.mark.parametrize("optimized", [False, True], ids=["raw", "optimized"])
@settings(max_examples=30)
@given(graph=lowerable_graphs(), batch=BATCHES)
def test_on_the_host(optimized: bool, graph: Graph, batch: int) -> None:
    check_drawn(graph, "host", optimized, batch)


@pytest.mark.parametrize("target", NATIVE[:-1])
@settings(max_examples=8)
@given(graph=lowerable_graphs(), optimized=st.booleans(), batch=BATCHES)
def test_on_lesser_hosts(target: str, graph: Graph, optimized: bool, batch: int) -> None:
    check_drawn(graph, target, optimized, batch)


@pytest.mark.parametrize("target", ["aarch64", "cortex-m4", *in_long_runs("armv7", "cortex-m0")])
@settings(max_examples=10)
@given(graph=lowerable_graphs(max_ops=8), optimized=st.booleans(), batch=BATCHES)
def test_under_emulation(target: str, graph: Graph, optimized: bool, batch: int) -> None:
    check_drawn(graph, target, optimized, batch)


@pytest.mark.slow
@pytest.mark.parametrize("target", [*NATIVE, *EMULATED, "cortex-m3", "cortex-m7", "cortex-m33", "cortex-m55"])
@settings(max_examples=300)
@given(graph=lowerable_graphs(max_ops=10), optimized=st.booleans(), batch=BATCHES)
def test_many(target: str, graph: Graph, optimized: bool, batch: int) -> None:
    check_drawn(graph, target, optimized, batch)
