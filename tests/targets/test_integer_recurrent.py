"""Recurrent sequences in integers: the same numbers on every target, whatever the shapes, scales and extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiling import in_long_runs
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
from graphopt.errors import Unsupported
from graphopt.ir import Array, Graph, arg, constant, evaluate
from graphopt.ops import (
    GruSequenceInteger,
    IntegerSequence,
    LstmSequenceInteger,
    RnnSequenceInteger,
    sigmoid_table,
    tanh_table,
)

Kind = tuple[type[IntegerSequence], dict[str, Any]]
Shape = tuple[int, int, int]
"""Steps, batch, hidden."""

KINDS: list[Kind] = [
    (LstmSequenceInteger, {}),
    (LstmSequenceInteger, {"cell": 9}),
    (GruSequenceInteger, {"linear_before_reset": False}),
    (GruSequenceInteger, {"linear_before_reset": True}),
    (RnnSequenceInteger, {}),
]
SELDOM = in_long_runs("armv7", "cortex-m0", "cortex-m3", "cortex-m7", "cortex-m33", "cortex-m55")
TARGETS = ["aarch64", "cortex-m4", *SELDOM]


def mixed(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    """Integers of a type: its ends often, else of any magnitude."""
    limits = np.iinfo(dtype)
    size = 2.0 ** rng.uniform(0, limits.bits - 1, shape)
    values = np.clip(rng.uniform(-1, 1, shape) * size, limits.min, limits.max)
    ends = rng.choice([limits.min, limits.max], shape)
    return np.where(rng.random(shape) < 0.15, ends, values).astype(dtype)


def drawn(kind: Kind, shape: Shape, seed: int) -> Graph:
    """A sequence with everything drawn from a seed: either direction, states or none."""
    rng = np.random.default_rng(seed)
    op = kind[0](reverse=bool(rng.integers(2)), **kind[1])
    steps, n, hidden = shape
    rows = op.gates * hidden
    gates = arg("gates", "int16", (steps, n, rows))
    states = [arg(f"s{i}", "int16", (n, hidden)) for i in range(op.states * int(rng.integers(2)))]
    r = np.maximum(mixed(rng, "int8", rows, hidden), -127)
    # mostly ratios of trained layers, sometimes those at the ends of the fixed point
    shift = np.clip(rng.integers(24, 40, rows) if rng.random() < 0.7 else rng.integers(1, 63, rows), 1, 62)
    multiplier = rng.integers(1 << 30, 1 << 31, rows, dtype=np.int64)
    tables = [sigmoid_table(), tanh_table()][-op.tables :]
    biases = [rng.integers(-(1 << 29), 1 << 29, hidden) for _ in range(op.biases)]
    fixed = [multiplier.astype("int32"), shift.astype("int32"), *tables, *(b.astype("int32") for b in biases)]
    y = op(gates, constant(r), *map(constant, fixed), *states)
    return Graph((gates, *states), (y,))


def hold(graph: Graph, target: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = [mixed(rng, v.type.dtype, *v.type.static_shape) for v in graph.inputs]
    (want,) = graph(*inputs)
    got = graphopt.compile(graph, target).run(*inputs)
    np.testing.assert_array_equal(got, want)


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(1, 37))


@settings(max_examples=8)
@given(kind=st.sampled_from(KINDS), shape=SHAPES, seed=st.integers(0, 1 << 16))
def test_on_the_host(kind: Kind, shape: Shape, seed: int) -> None:
    hold(drawn(kind, shape, seed), "host", seed)


@settings(max_examples=40)
@given(kind=st.sampled_from(KINDS), shape=SHAPES, seed=st.integers(0, 1 << 16))
def test_by_other_operators(kind: Kind, shape: Shape, seed: int) -> None:
    """The decomposition, which exporters write, gives the same integers."""
    graph = drawn(kind, shape, seed)
    node = graph.outputs[0].node
    parts = node.op.decompose(*node.inputs)
    assert parts is not None
    rng = np.random.default_rng(seed)
    inputs = [mixed(rng, v.type.dtype, *v.type.static_shape) for v in graph.inputs]
    np.testing.assert_array_equal(evaluate(Graph(graph.inputs, parts), inputs)[0], graph(*inputs)[0])


@pytest.mark.parametrize("target", TARGETS)
def test_elsewhere(target: str) -> None:
    """Every kind in one program, each of other shapes."""
    graphs = [drawn(kind, (3, 1 + i % 2, 5 + 3 * i), seed=i) for i, kind in enumerate(KINDS)]
    graph = Graph(tuple(v for g in graphs for v in g.inputs), tuple(v for g in graphs for v in g.outputs))
    rng = np.random.default_rng(1)
    inputs = [mixed(rng, v.type.dtype, *v.type.static_shape) for v in graph.inputs]
    for got, want in zip(graphopt.compile(graph, target).run(*inputs), graph(*inputs), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", KINDS[1:4])
def test_products_are_requantized_by_constants(kind: Kind) -> None:
    """Where their shifts allow it: of rows with one shift and of rows with several."""
    rng = np.random.default_rng(3)
    graph = drawn(kind, (3, 2, 5), seed=2)
    sequence, rows = graph.outputs[0].node, 5 * kind[0].gates
    for shift in (rng.integers(33, 41, rows), np.full(rows, 36)):
        operands = list(sequence.inputs)
        operands[3] = constant(shift.astype("int32"))
        shifted = Graph(graph.inputs, sequence.op.apply(*operands).results)
        source = graphopt.compile(shifted, "cortex-m4").files["model.c"].decode()
        assert any(by in source for by in ("multiply_upper(", "scale_row(")) and "requantize(" not in source
        hold(shifted, "cortex-m4", seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", *TARGETS])
@settings(max_examples=40)
@given(kind=st.sampled_from(KINDS), shape=SHAPES, seed=st.integers(0, 1 << 16))
def test_many_elsewhere(target: str, kind: Kind, shape: Shape, seed: int) -> None:
    hold(drawn(kind, shape, seed), target, seed)


def test_an_accumulator_that_may_overflow_is_refused_by_name() -> None:
    op, bias = GruSequenceInteger(linear_before_reset=True), np.full(2, (1 << 31) - 1, "int32")
    gates, row = arg("gates", "int16", (1, 1, 6)), constant(np.full(6, 31, "int32"))
    tables = constant(sigmoid_table()), constant(tanh_table())
    y = op(gates, constant(np.ones((6, 2), "int8")), row, row, *tables, constant(bias), name="gru_7")
    with pytest.raises(Unsupported, match=r"gru_7.*accumulator of row 4|accumulator of row 4.*gru_7"):
        graphopt.compile(Graph((gates,), (y,)))


def test_computed_weights_are_refused_by_name() -> None:
    gates, r, row = arg("gates", "int16", (1, 1, 3)), arg("r", "int8", (3, 3)), constant(np.full(3, 31, "int32"))
    y = RnnSequenceInteger()(gates, r, row, row, constant(tanh_table()), name="cell_3")
    with pytest.raises(Unsupported, match=r"cell_3.*computed at run time|computed at run time.*cell_3"):
        graphopt.compile(Graph((gates, r), (y,)))
