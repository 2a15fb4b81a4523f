"""Planes of many channels beside ports and reshapes: turned by copies on LLVM targets, if kernels go by channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiling import NATIVE, Weights, check_program, in_long_runs
from test_x86_int8 import Integers

import graphopt
from graphopt import Port
from graphopt.ir import Graph, Value
from graphopt.ops import Add, Conv, Identity, MaxPool, Relu, Reshape, Sigmoid, Softmax
from graphopt.runtime import Program

TARGETS = [*NATIVE, *in_long_runs("aarch64", "armv7")]


def conv(g: Weights, x: Value, out: int, window: int = 3) -> Value:
    channels = x.type.static_shape[1]
    sizes = (window,) * (x.type.rank - 2)
    return Conv(pads=(window // 2,) * (2 * len(sizes)))(x, g.w(out, channels, *sizes), g.w(out))


def copies(program: Program) -> int:
    return sum(row["kernel"].startswith("identity") for row in program.manifest["kernels"])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(1, 16, 16, 16), (2, 9, 13, 21), (1, 33, 300), (1, 8, 5, 7, 9)])
def test_convolutions_between_ports(shape: tuple[int, ...], target: str) -> None:
    """Whole tiles and parts of them, over one axis to three."""
    g = Weights()
    program = check_program(g.graph(conv(g, conv(g, g.x(*shape), 19), 11)), target)
    assert copies(program) == 2


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_around_convolutions(target: str) -> None:
    """An operand that two read is turned once; a residual and a result that is reshaped are turned too."""
    g = Weights()
    x = g.x(1, 16, 16, 16)
    rows = Reshape(shape=(1, 16, 256))(Relu()(Add()(conv(g, Sigmoid()(x), 16), x)))
    program = check_program(g.graph(Softmax(axis=-1)(rows)), target)
    assert copies(program) == 2


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("target", TARGETS)
def test_bytes(target: str, dtype: str) -> None:
    layers = Integers(1, 37, 17, 16, dtype=dtype)
    program = check_program(layers.graph(layers.conv(layers.x, 21, (3, 3), pads=(1, 1, 1, 1))), target)
    assert copies(program) == 2


def test_what_is_not_turned() -> None:
    """Few channels, small planes, poolings by themselves, what is elementwise by itself, ports with channels last."""

    def layer(channels: int, *size: int) -> Graph:
        g = Weights()
        return g.graph(conv(g, g.x(1, channels, *size), channels))

    g = Weights()
    x = g.x(1, 32, 16, 16)
    pooled, elementwise = g.graph(MaxPool(kernel=(2, 2), strides=(2, 2))(x)), g.graph(Sigmoid()(x))
    for graph in (layer(7, 16, 16), layer(32, 15, 17), pooled, elementwise):
        assert copies(graphopt.compile(graph, "host")) == 0
    assert copies(graphopt.compile(layer(32, 16, 16), "cortex-m4")) == 0
    last = dict.fromkeys(("x0", "y"), Port(layout="nhwc"))
    assert copies(graphopt.compile(replace(layer(32, 16, 16), output_names=("y",)), "host", ports=last)) == 0


def test_a_copy_alone() -> None:
    """A port with its channels last beside one without."""
    g = Weights()
    x = g.x(1, 24, 7, 9)
    graph = Graph((x,), (Identity()(x),), ("y",))
    name = graph.names[x.node]
    program = graphopt.compile(graph, "host", ports={name: Port(layout="nhwc")})
    data = np.random.default_rng(0).standard_normal((1, 7, 9, 24)).astype(np.float32)
    assert np.array_equal(program.run(data), data.transpose(0, 3, 1, 2))
