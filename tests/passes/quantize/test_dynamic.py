"""Dynamic quantisation: close to the float graph, defined for zeros, and the same on every core."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiling import Weights, in_long_runs

import graphopt
from graphopt import compile
from graphopt.ir import Graph, bind_batch, worst_difference
from graphopt.ops import Conv, ConvInteger, Linear, LinearInteger, MatMul, MatMulInteger, Relu
from graphopt.passes import Context, Fuse, Quantize
from graphopt.passes.contract import random_inputs, signal_to_noise


def conv_graph() -> Graph:
    g = Weights()
    x = g.x(1, 3, 6, 5)
    y = Relu()(Conv(pads=(1, 1, 1, 1))(x, g.w(8, 3, 3, 3), g.w(8), name="conv"))
    return g.graph(Conv(group=8)(y, g.w(8, 1, 3, 3), g.w(8), name="depthwise"))


def linear_graph() -> Graph:
    g = Weights()
    hidden = Linear()(g.x(3, 7), g.w(9, 7), g.w(9), name="first")
    return g.graph(Linear()(Relu()(hidden), g.w(4, 9), g.w(4), name="second"))


def matmul_graph() -> Graph:
    g = Weights()
    return g.graph(MatMul()(g.x(2, 3, 5), g.x(2, 5, 4), name="scores"))


GRAPHS = {"conv": conv_graph(), "linear": linear_graph(), "matmul": matmul_graph()}
FORMS = {"conv": ConvInteger, "linear": LinearInteger, "matmul": MatMulInteger}


@pytest.mark.parametrize("name", GRAPHS)
def test_is_close_to_the_float_graph(name: str) -> None:
    graph = GRAPHS[name]
    small = Quantize(mode="dynamic")(graph)
    products = [n for n in small.nodes if isinstance(n.op, FORMS[name])]
    assert len(products) == sum(isinstance(n.op, Conv | Linear | MatMul) for n in graph.nodes)
    inputs = random_inputs(graph, 1)
    assert signal_to_noise(small(**inputs)[0], graph(**inputs)[0]) > 30


@pytest.mark.parametrize("target", ["host", "armv7", "cortex-m0", *in_long_runs("cortex-m4")])
def test_is_the_same_everywhere(target: str) -> None:
    """Of zeros, of what a NEON unit flushes to zero, and of large numbers; also within one batch."""
    graph = Fuse()(Quantize(mode="dynamic")(GRAPHS["linear"]))
    program = compile(graph, target)
    for magnitude in (0.0, 1e-38, 1e-20, 1e30):
        x = random_inputs(graph, 2)["x0"] * np.float32(magnitude)
        x[0] = random_inputs(graph, 3)["x0"][0]
        want = graph(x)[0]
        assert np.isfinite(want).all()
        np.testing.assert_array_equal(program.run(x), want)


def test_overrides_and_reasons() -> None:
    context = Context()
    small = Quantize(mode="dynamic", overrides={"first": "float32"}).run(GRAPHS["linear"], context)
    assert [n.name for n in small.nodes if isinstance(n.op, Linear)] == ["first"]
    assert any(n.node == "second" and "run time" in n.text for n in context.notes)


@pytest.mark.parametrize("layer", [torch.nn.LSTM, torch.nn.GRU])
def test_the_inputs_of_recurrent_layers_are_products(layer: type[torch.nn.LSTM | torch.nn.GRU]) -> None:
    torch.manual_seed(0)
    graph = graphopt.trace(layer(6, 10, batch_first=True).eval(), (torch.randn(1, 7, 6),))
    small = Quantize(mode="dynamic")(graph)
    assert sum(isinstance(n.op, LinearInteger) for n in small.nodes) == 1
    inputs = random_inputs(bind_batch(graph, 1), 1)
    assert signal_to_noise(small(**inputs)[0], graph(**inputs)[0]) > 30
    for target in ("host", "cortex-m4"):
        program = compile(bind_batch(Fuse()(small), 1), target)
        (got,) = program.measure(inputs, count=False).outputs
        assert worst_difference(got[0], small(**inputs)[0]) < 1e-3


@pytest.mark.parametrize("weights", ["int4", "binary"])
def test_narrow_weights(weights: str) -> None:
    graph = Fuse()(Quantize(mode="dynamic", weights=weights)(GRAPHS["conv"]))
    inputs = random_inputs(graph, 4)
    np.testing.assert_array_equal(compile(graph, "cortex-m4").run(**inputs), graph(**inputs)[0])
