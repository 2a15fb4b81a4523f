"""Cross-layer equalization: the same function to the last bit, equal ranges on both sides, and what it declines."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import (
    Add,
    AveragePool,
    Clip,
    Conv,
    ConvTranspose,
    LeakyRelu,
    Linear,
    MaxPool,
    Pad,
    ReduceMean,
    Relu,
    Sigmoid,
)
from graphopt.passes import Context, EqualizeLayers
from graphopt.testing import check_pass

RNG = np.random.default_rng(7)


def const(*shape: int, spread: int | None = None) -> Value:
    """Weights, of ranges that differ a hundredfold along the axis ``spread``."""
    data = RNG.uniform(-1, 1, shape)
    if spread is not None:
        data *= 10 ** RNG.uniform(-1, 1, [s if a == spread else 1 for a, s in enumerate(shape)])
    return constant(data.astype("float32"))


def layer(x: Value, out: int, kernel: int = 3, name: str = "", **options: object) -> Value:
    op = Conv(**options)  # type: ignore[arg-type]
    channels = x.type.shape[1]
    assert isinstance(channels, int)
    w = const(out, channels // op.group, kernel, kernel, spread=0)
    return op(x, w, constant(RNG.uniform(-0.1, 0.1, out).astype("float32")), name=name)


def image(channels: int = 4) -> Value:
    return arg("x", "float32", (Batch(), channels, 8, 8))


def depthwise() -> Graph:
    x = image()
    y = layer(x, 6, name="first")
    y = layer(Relu()(y), 6, name="depthwise", group=6, pads=(1, 1, 1, 1))
    return Graph((x,), (layer(LeakyRelu(alpha=0.1)(y), 3, 1, name="last"),))


def pools() -> Graph:
    x = image()
    y = MaxPool(kernel=(2, 2), strides=(2, 2))(Relu()(layer(x, 6)))
    y = layer(Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1))(y), 4)
    y = AveragePool(kernel=(2, 2))(Clip(low=0.0)(y))
    y = ReduceMean(axes=(2, 3), keepdims=False)(layer(y, 6, 2, group=2))
    return Graph((x,), (Linear()(y, const(5, 6), const(5)),))


def transposed() -> Graph:
    x = image()
    y = Relu()(layer(x, 6))
    y = ConvTranspose(group=2, strides=(2, 2))(y, const(6, 2, 2, 2, spread=1), const(4))
    return Graph((x,), (layer(Relu()(y), 3),))


def dense() -> Graph:
    x = arg("x", "float32", (Batch(), 3, 5))
    y = Relu()(Linear()(x, const(7, 5, spread=0), const(7)))
    return Graph((x,), (Linear()(y, const(2, 7), const(2)),))


@pytest.mark.parametrize("build", [depthwise, pools, transposed, dense])
def test_results_are_the_same_to_the_bit(build: Callable[[], Graph]) -> None:
    graph = build()
    small = check_pass(EqualizeLayers(), graph)
    x = np.random.default_rng(1).standard_normal((3, *graph.inputs[0].type.shape[1:])).astype("float32")  # type: ignore[misc]
    np.testing.assert_array_equal(small(x)[0], graph(x)[0])
    assert set(small.constants) != set(graph.constants)


def test_ranges_on_both_sides_are_equal() -> None:
    """To a factor of two, for scales are powers of two; before, they are up to a hundredfold apart."""

    def apart(graph: Graph) -> float:
        first, last = graph.node("first"), graph.node("last")
        made, bias = first.inputs[1].constant, first.inputs[2].constant
        read = last.inputs[1].constant
        assert made is not None and bias is not None and read is not None
        ranges = np.maximum(np.abs(made).max((1, 2, 3)), np.abs(bias)), np.abs(read).max((0, 2, 3))
        return float(np.exp(np.abs(np.log(ranges[0] / ranges[1])).max()))

    x = image()
    graph = Graph((x,), (layer(Relu()(layer(x, 16, name="first")), 3, name="last"),))
    assert apart(graph) > 4
    assert apart(EqualizeLayers()(graph)) <= 2 * (1 + 1e-6)


def test_a_channel_without_weights_stays() -> None:
    x = image()
    first = layer(x, 4, name="first")
    weight, bias = (np.array(v.constant) for v in first.node.inputs[1:])
    weight[2], bias[2] = 1e-30, 0
    first = first.op(x, constant(weight), constant(bias), name="first")
    small = EqualizeLayers()(Graph((x,), (layer(Relu()(first), 3),)))
    np.testing.assert_array_equal(small.node("first").inputs[1].constant[2], weight[2])  # type: ignore[index]


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda y: Clip(low=0.0, high=6.0)(y), "clip.* is not positively homogeneous by channel"),
        (lambda y: Sigmoid()(y), "sigmoid.* is not positively homogeneous by channel"),
        (lambda y: Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1), value=1.0)(y), "pad.* is not positively homogeneous by channel"),
        (lambda y: Pad(pads=(0, 1, 0, 0, 0, 1, 0, 0))(y), "pad.* is not positively homogeneous by channel"),
        (lambda y: Add()(Relu()(y), y), "add.* is not positively homogeneous by channel"),
        (lambda y: Relu()(MaxPool(kernel=(2, 2))(y)), "has other readers"),
    ],
)
def test_declines(between: Callable[[Value], Value], reason: str) -> None:
    x = image()
    y = layer(x, 6, name="first")
    made = between(y)
    outputs = (layer(made, 3, name="last"), y) if reason == "has other readers" else (layer(made, 3, name="last"),)
    graph, context = Graph((x,), outputs), Context()
    small = EqualizeLayers().run(graph, context)
    assert set(small.constants) == set(graph.constants)
    (note,) = [n for n in context.notes if n.node == "last"]
    assert note.declined

    assert re.search(reason, note.text), note.text
