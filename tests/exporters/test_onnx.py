"""What is exported to ONNX computes the same in ONNX Runtime, and comes back as an equal function."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import torch
from hypothesis import given
from oracle import run

import graphopt
from graphopt.errors import Unsupported
from graphopt.exporters.onnx import rules as rules  # they register when they are imported
from graphopt.ir import (
    REGISTRY,
    Array,
    Batch,
    Constant,
    Graph,
    Input,
    Op,
    TensorType,
    arg,
    bind_batch,
    constant,
    worst_difference,
)
from graphopt.ops import Add, Conv, Expand, Identity, Linear, Relu, Reshape, Resize, Silu
from graphopt.passes import optimize
from graphopt.passes.contract import random_inputs
from graphopt.testing import random_graph, signature
from graphopt.testing.strategies import graphs

EXAMPLES = 3
BUILT_IN = sorted(n for n, op in REGISTRY.items() if op.__module__.startswith("graphopt.ops"))


def compare(graph: Graph, got: list[Array], want: tuple[Array, ...]) -> None:
    for name, g, w in zip(graph.output_names, got, want, strict=True):
        assert g.dtype == w.dtype
        assert worst_difference(g, w) <= 1e-5, name


def hold(graph: Graph, batch: int = 2, seed: int = 0) -> Graph:
    """The graph that the export comes back as, after both have been held to the original."""
    model = graphopt.to_onnx(graph)
    assert [o.name for o in model.graph.output] == list(graph.output_names)
    inputs = random_inputs(bind_batch(graph, batch), seed)
    with np.errstate(all="ignore"):
        want = graph(**inputs)
        compare(graph, run(model, inputs), want)
        back = graphopt.load(model)
        assert signature(back) == signature(graph)
        compare(graph, list(back(**inputs)), want)
    return back


@given(graph=graphs())
def test_drawn_graphs(graph: Graph) -> None:
    hold(graph)


@pytest.mark.parametrize("seed", range(20))
def test_optimized_graphs(seed: int) -> None:
    hold(optimize(random_graph(seed)))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_operator(name: str) -> None:
    found = 0
    for seed in range(40):
        graph = random_graph(seed, max_ops=2, ops=[name])
        if any(n.op.name == name for n in graph.nodes):
            hold(graph, seed=seed)
            found += 1
        if found == EXAMPLES:
            return
    assert found


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(lambda: models.mobilenet_v2(0.35, 10), (1, 3, 64, 64), marks=pytest.mark.slow),
        pytest.param(lambda: models.resnet18(10), (1, 3, 64, 64), marks=pytest.mark.slow),
        (lambda: models.tiny_yolo(), (1, 3, 64, 64)),
    ],
    ids=["mobilenet_v2", "resnet18", "tiny_yolo"],
)
def test_models(make: object, shape: tuple[int, ...]) -> None:
    graph = graphopt.trace(make(), torch.zeros(shape))  # type: ignore[operator]
    back = hold(graph)
    weights = {graph.names[n] for n in graph.nodes if isinstance(n.op, Constant) and n.op.value.size > 100}
    assert weights <= set(back.names.values())
    layers = {graph.names[n] for n in graph.nodes if isinstance(n.op, Conv | Linear)}
    assert layers <= set(back.names.values())
    hold(optimize(graph))


def net() -> Graph:
    x = arg("x", "float32", (Batch(), 3, 4, 4))
    w, zeros = (
        constant(np.ones((2, 3, 1, 1), np.float32), "conv.weight"),
        constant(np.zeros(2, np.float32), "conv.bias"),
    )
    y = Silu()(Conv()(x, w, zeros, name="conv"), name="act")
    return Graph((x,), (y, Reshape(shape=(Batch(2), 16))(y, name="flat")), ("y", "flat"), "net")


def test_names_dimensions_and_biases() -> None:
    model = graphopt.to_onnx(net())
    assert [[d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output] == [
        ["N", 2, 4, 4],
        ["N_times_2", 16],
    ]
    assert next(t.name for t in model.graph.initializer) == "conv.weight"
    assert "conv.bias" not in [t.name for t in model.graph.initializer]
    assert [n.name for n in model.graph.node] == ["conv", "act.sigmoid", "act", "flat"]
    assert [n.op_type for n in model.graph.node] == ["Conv", "Sigmoid", "Mul", "Reshape"]
    assert "act" in hold(net()).names.values()


def test_multiples_of_the_batch_come_back() -> None:
    x, y = arg("x", "float32", (Batch(4), 3)), arg("y", "float32", (2, Batch()))
    graph = Graph((x, y), (Relu()(x), Expand(shape=(Batch(2), 2, Batch()))(y)))
    hold(graph, batch=3)


def test_outputs_that_are_inputs_constants_and_twice_the_same() -> None:
    x = arg("x", "float32", (2, 3))
    y = Relu()(x, name="y")
    hold(Graph((x,), (x, y, y, constant(np.ones(3, np.float32))), ("x", "y", "again", "c")))
    with pytest.raises(Unsupported, match="both called 'x'"):
        graphopt.to_onnx(Graph((x,), (y,), ("x",)))


def test_names_that_collide() -> None:
    x = arg("x", "float32", (2,))
    y = Relu()(Identity()(Relu()(x, name="y"), name="x"), name="y/constant")
    hold(Graph((x,), (Add()(y, x, name="z"),), ("y",)))


def test_resize_that_engines_round_differently_is_gathered() -> None:
    for have in range(1, 9):
        for want in range(1, 13):
            for coordinates, rounding in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")):
                x = arg("x", "float32", (1, 1, have))
                graph = Graph((x,), (Resize(sizes=(want,), coordinates=coordinates, rounding=rounding)(x),))
                data = np.arange(have, dtype=np.float32).reshape(1, 1, have)
                np.testing.assert_array_equal(run(graphopt.to_onnx(graph), {"x": data})[0], graph(data)[0])


def test_what_onnx_lacks_is_listed() -> None:
    class Alien(Op, name="alien"):
        def infer(self, *inputs: TensorType) -> TensorType:
            return inputs[0]

    try:
        x = arg("x", "float32", (2,))
        with pytest.raises(Unsupported, match=r"a \(alien\), b \(alien\)"):
            graphopt.to_onnx(Graph((x,), (Alien()(Alien()(x, name="a"), name="b"),)))
    finally:
        del REGISTRY["alien"]


def test_types_that_onnx_does_not_take_are_refused() -> None:
    x, w = arg("x", "int32", (1, 1, 4)), arg("w", "int32", (1, 1, 3))
    graph = Graph((x, w), (Conv()(x, w, constant(np.zeros(1, np.int32))),))
    with pytest.raises(Unsupported, match="cannot express"):
        graphopt.to_onnx(graph)


def test_save_dispatches_on_the_suffix(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.gopt"):
        graphopt.save(net(), tmp_path / name)
        assert signature(graphopt.load(tmp_path / name)) == signature(net())
    with pytest.raises(graphopt.GraphoptError, match="no known form"):
        graphopt.save(net(), tmp_path / "m.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.gopt", "m.onnx"]


def test_inputs_keep_their_order() -> None:
    model = graphopt.to_onnx(random_graph(3))
    graph = random_graph(3)
    assert [i.name for i in model.graph.input] == [graph.names[n] for n in graph.nodes if isinstance(n.op, Input)]
