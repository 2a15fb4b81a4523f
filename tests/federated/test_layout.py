"""The weights that are exchanged: which they are, and that they go out and come back unchanged."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from learning import net, same, weights

from graphopt.errors import InvalidInput
from graphopt.federated.layout import Layout
from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import Linear, Relu


def test_parameters_and_statistics_go_out_and_come_back() -> None:
    layout = Layout.of(net())
    assert layout.size == sum(array.size for array in weights(net()).values())
    assert same(layout.graph_of(layout.vector(net())), net())
    moved = layout.graph_of(layout.vector(net()) + 1)
    for name, array in weights(moved).items():
        assert np.array_equal(array, weights(net())[name] + 1)


def test_statistics_are_known_and_what_is_frozen_is_left_out() -> None:
    layout = Layout.of(net())
    assert (layout.measured.sum(), layout.variances.sum()) == (12, 6)
    assert (layout.vector(net())[layout.variances] == 1).all()
    assert Layout.of(net(), frozen_norms=True).size == layout.size - 12
    assert Layout.of(net(), ("stem.*",)).size == layout.size - 6 * 18 - 6


def test_layouts_of_other_shapes_and_zeros_have_other_digests() -> None:
    graphs = net(), net(zeros=True), net(channels=5)
    assert len({Layout.of(graph).digest for graph in graphs}) == 3
    assert Layout.of(net()).digest == Layout.of(Layout.of(net()).graph_of(Layout.of(net()).vector(net()) + 1)).digest


def test_a_deep_graph_is_pickled() -> None:
    y: Value = arg("x", "float32", (Batch(), 2))
    x = y
    for i in range(400):
        y = Relu()(
            Linear()(y, constant(np.eye(2, dtype="float32") + 1, f"w{i}"), constant(np.ones(2, "float32"), f"b{i}"))
        )
    layout = Layout.of(Graph((x,), (y,), name="deep"))
    again = pickle.loads(pickle.dumps(layout))
    assert again.digest == layout.digest
    assert np.array_equal(again.vector(again.graph), layout.vector(layout.graph))


def test_other_floats_are_refused() -> None:
    x = arg("x", "float64", (Batch(), 2))
    y = Linear()(x, constant(np.eye(2), "w"), constant(np.zeros(2), "b"))
    with pytest.raises(InvalidInput, match=r"w: is torch\.float64; only float32 is exchanged"):
        Layout.of(Graph((x,), (y,), name="wide"))
