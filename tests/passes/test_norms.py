"""Batch norms that are put behind layers: they change nothing, fold away again, and see normalized values."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, Value, arg, constant, worst_difference
from graphopt.ops import Add, BatchNorm, Conv, ConvTranspose, Linear, ReduceMean, Relu
from graphopt.passes import Context, FoldBatchNorm, Fuse, InsertBatchNorm, Pipeline

RNG = np.random.default_rng(6)
DATA = [RNG.normal(1, 3, (n, 3, 6, 6)).astype("float32") for n in (3, 5)]


def weights(*shape: int) -> tuple[Value, Value]:
    return tuple(constant(RNG.normal(0, 0.3, s).astype("float32")) for s in (shape, shape[:1]))  # type: ignore[return-value]


def net() -> Graph:
    """A convolution, one with a norm, a sum, a transposed convolution, and two linear layers."""
    x = arg("x", "float32", (Batch(), 3, 6, 6))
    y = Relu()(Conv(pads=(1, 1, 1, 1))(x, *weights(4, 3, 3, 3), name="stem"))
    own = [constant(RNG.uniform(0.5, 2, 4).astype("float32")) for _ in range(4)]
    z = Add()(y, BatchNorm()(Conv()(y, *weights(4, 4, 1, 1), name="normed"), *own))
    z = Relu()(ConvTranspose(strides=(2, 2))(z, weights(4, 5, 2, 2)[0], weights(5)[0], name="up"))
    z = Relu()(Linear()(ReduceMean(axes=(2, 3), keepdims=False)(z), *weights(6, 5), name="hidden"))
    return Graph((x,), (Linear()(z, *weights(2, 6), name="head"),))


NET = net()


def behind(graph: Graph, layer: str) -> list[Array]:
    """What the norm of a layer gives on the data, batch by batch."""
    return [Graph(graph.inputs, (graph.node(f"{layer}.norm").results[0],))(batch)[0] for batch in DATA]


def test_layers_get_a_norm_that_changes_nothing() -> None:
    context = Context()
    graph = InsertBatchNorm(calibration=DATA).run(NET, context)
    assert sum(isinstance(node.op, BatchNorm) for node in graph.nodes) == 4
    declined = {note.node: note.text for note in context.notes if note.declined}
    assert declined == {"normed": "it has a batch norm", "head": "its result is an output"}
    other = RNG.normal(-2, 5, (4, 3, 6, 6)).astype("float32")
    for batch in (*DATA, other):
        assert worst_difference(graph(batch)[0], NET(batch)[0]) < 1e-6


def test_its_statistics_are_those_of_the_data() -> None:
    graph = InsertBatchNorm(calibration=DATA)(NET)
    for layer in ("stem", "up", "hidden"):
        parts = [graph.node(f"{layer}.norm.{part}").results[0].constant for part in ("bias", "scale")]
        every = np.concatenate([np.moveaxis(y, 1, 0).reshape(y.shape[1], -1) for y in behind(graph, layer)], axis=1)
        np.testing.assert_allclose(every.mean(1), parts[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(np.sqrt(every.var(1) + BatchNorm().epsilon), parts[1], rtol=1e-3)


def test_the_contract_holds_and_folding_undoes_it() -> None:
    graph = Pipeline([InsertBatchNorm(calibration=DATA), FoldBatchNorm()], check=True)(NET)
    assert [n.op.name for n in graph.nodes].count("batch_norm") == 0
    assert [n.op.name for n in graph.nodes].count("add") == 1
    assert worst_difference(graph(DATA[0])[0], NET(DATA[0])[0]) < 1e-5


def test_only_the_layers_that_are_named() -> None:
    graph = InsertBatchNorm(layers=["st*", "up"], calibration=DATA)(NET)
    assert {graph.names[n] for n in graph.nodes if isinstance(n.op, BatchNorm)} >= {"stem.norm", "up.norm"}
    assert "hidden.norm" not in graph.names.values()
    with pytest.raises(InvalidInput, match="layers is one string"):
        InsertBatchNorm(layers="stem")


def test_a_channel_that_never_changes_and_a_fused_graph() -> None:
    """A variance of zero leaves a scale of sqrt(epsilon): nothing is divided by zero."""
    x = arg("x", "float32", (Batch(), 3, 6, 6))
    dead = constant(np.zeros((2, 3, 1, 1), "float32")), constant(np.array([3, -1], "float32"))
    graph = Fuse()(Graph((x,), (Relu()(Conv()(x, *dead, name="dead")),)))
    context = Context(calibration=DATA)
    normed = InsertBatchNorm().run(graph, context)
    np.testing.assert_allclose(normed(DATA[0])[0], graph(DATA[0])[0], rtol=1e-6)
    assert any("fused already" in str(note) for note in context.notes)


def test_it_needs_data() -> None:
    with pytest.raises(InvalidInput, match="there is no calibration data"):
        InsertBatchNorm()(NET)
