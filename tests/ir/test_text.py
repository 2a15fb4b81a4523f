"""The text form prints and parses back: drawn graphs, odd names, odd constants, nested bodies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.errors import InvalidInput
from graphopt.ir import Batch, Graph, arg, bind_batch, constant, evaluate, parse, verify
from graphopt.ops import Add, Clip, Expand, Fused, Pad, Relu
from graphopt.passes import optimize
from graphopt.passes.contract import random_inputs
from graphopt.testing.strategies import graphs


def round_trip(graph: Graph) -> Graph:
    again = parse(str(graph), graph.constants)
    assert str(again) == str(graph)
    return again


@given(graph=graphs())
def test_drawn_graphs_round_trip(graph: Graph) -> None:
    verify(graph)
    again = round_trip(graph)
    bound = bind_batch(graph, 2)
    inputs = random_inputs(bound, seed=0)
    for want, got in zip(evaluate(bound, inputs), evaluate(again, inputs), strict=True):
        np.testing.assert_array_equal(want, got)


@given(graph=graphs())
def test_optimized_graphs_with_fused_bodies_round_trip(graph: Graph) -> None:
    round_trip(optimize(graph))


@given(
    name=st.text(min_size=1) | st.sampled_from(["inf", "nan", "inf.x", "N", "graph", "return", "from", "true", "a.b"])
)
def test_any_name_round_trips(name: str) -> None:
    x = arg(name, "float32", (Batch(3), 2))
    y = Relu()(x, name=name, origins=(name, "other"))
    again = round_trip(Graph((x,), (y, x), (name, name + "_"), name))
    assert again.names[again.inputs[0].node] == name
    assert again.outputs[0].node.origins == (name, "other")


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint64", "float16", "float32", "float64"])
def test_constants_of_every_dtype_round_trip(dtype: str) -> None:
    for values in (1, [0, 1], [[1, 0], [1, 1]], list(range(9)), []):
        value = constant(np.array(values).astype(dtype))
        again = round_trip(Graph((), (value,)))
        assert again.outputs[0].constant is not None and value.constant is not None
        assert again.outputs[0].type == value.type
        np.testing.assert_array_equal(again.outputs[0].constant, value.constant)


@pytest.mark.parametrize("values", [[np.inf, -0.0], [np.nan], [1e-45, 3.4e38], [-0.0, 0.1]])
def test_extreme_constants_round_trip_bit_by_bit(values: list[float]) -> None:
    value = constant(np.array(values, np.float32))
    again = round_trip(Graph((), (value,)))
    assert again.outputs[0].op == value.op


def test_infinite_and_symbolic_attributes_round_trip() -> None:
    x = arg("x", "float32", (Batch(), 1))
    y = Expand(shape=(Batch(), 3))(Clip(low=float("-inf"), high=1e-30)(x))
    round_trip(Graph((x,), (Pad(pads=(0, 1, 0, 0), value=float("-inf"))(y),)))


def test_constants_inside_a_fused_body_are_among_those_of_the_graph() -> None:
    inner = arg("a", "float32", (8,))
    table = constant(np.arange(8, dtype=np.float32))
    fused = Fused(body=Graph((inner,), (Add()(inner, table),)))
    x = arg("x", "float32", (8,))
    round_trip(Graph((x,), (fused(x),)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph g(%x: float32[2]) { return a: %y }", "%y is used before it is defined"),
        ("graph g(%x: float32[2]) { %y = reul(%x) : float32[2] return a: %y }", "unknown operator 'reul'"),
        ("graph g(%x: float32[2]) { %y = relu(%x) : float32[3] return a: %y }", "is written as float32"),
        ("graph g(%x: float32[2]) {\n %y = relu(%x) {a = 1} : float32[2] return a: %y }", "line 2"),
        ("graph g(%x: float32[2]) { %y = constant @0123456789abcdef : int8[9] return a: %y }", "not among those given"),
        ("graph g(%x: float32[2]) { return a: %x#1 }", "has no result 1"),
        ("graph g(%x: float32[2]) { return a: %x } more", "after the graph"),
        ("graph g(%x: float32[2]) { ~ }", "unexpected character"),
    ],
)
def test_what_does_not_parse_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(text)
