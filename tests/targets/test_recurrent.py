"""Recurrent layers on every kind of target, against their reference semantics."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
from compiling import in_long_runs

import graphopt
from graphopt.ir import Graph, Value, arg, cast_floats, constant, worst_difference
from graphopt.ops import GRU, LSTM, RNN, Recurrent

LAYERS: list[Recurrent] = [
    LSTM(),
    LSTM(direction="bidirectional"),
    GRU(),
    GRU(direction="reverse", linear_before_reset=True),
    RNN(direction="bidirectional"),
    RNN(activation="relu"),
]


def graph_of(op: Recurrent, shape: tuple[int, int, int], hidden: int, initial: bool, computed: bool = False) -> Graph:
    """A layer on x [t, n, i] with constant weights; the recurrent ones are an input if they are computed."""
    rng = np.random.default_rng(0)
    steps, n, size = shape
    d, rows = len(op.reversed), op.gates * hidden

    def weights(*sizes: int) -> Value:
        return constant((rng.standard_normal(sizes) * 0.4).astype(np.float32))

    names = (f"x{i}" for i in count())
    x = arg(next(names), "float32", (steps, n, size))
    r = arg(next(names), "float32", (d, rows, hidden)) if computed else weights(d, rows, hidden)
    states = [arg(next(names), "float32", (d, n, hidden)) for _ in range(op.states if initial else 0)]
    results = op.apply(x, weights(d, rows, size), r, weights(d, 2 * rows), *states).results
    return Graph((x, *([r] if computed else []), *states), results)


def hold(graph: Graph, bound: float = 1e-5, **options: Any) -> None:
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(v.type.static_shape).astype(v.type.dtype) for v in graph.inputs]
    for got, want in zip(graphopt.compile(graph, **options).run(*inputs), graph(*inputs), strict=True):
        assert worst_difference(got, want) <= bound


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("op", LAYERS, ids=str)
def test_on_the_host(op: Recurrent, initial: bool) -> None:
    """37 channels are blocks of full vectors and of ever narrower ones."""
    hold(graph_of(op, (4, 3, 5), 37, initial))
    hold(graph_of(op, (1, 2, 3), 4, initial))


@pytest.mark.parametrize("op", LAYERS, ids=str)
def test_with_computed_weights(op: Recurrent) -> None:
    hold(graph_of(op, (3, 2, 3), 5, initial=True, computed=True))


def test_in_float64() -> None:
    for op in LAYERS:
        hold(cast_floats(graph_of(op, (3, 2, 3), 5, initial=True), "float64"), bound=1e-12)


@pytest.mark.parametrize("target", ["cortex-m4", *in_long_runs("aarch64")])
@pytest.mark.parametrize("op", LAYERS, ids=str)
def test_elsewhere(op: Recurrent, target: str) -> None:
    hold(graph_of(op, (4, 2, 5), 7, initial=True), target=target)


def test_results_may_share_their_elements() -> None:
    """Of one step, y and the last state are the same: each has a buffer of its own."""
    hold(graph_of(RNN(), (1, 2, 3), 4, initial=False))
