"""Results computed in the place of an operand: where that is safe it is done, where it is not it is not."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import in_long_runs

from graphopt import compile
from graphopt.ir import Array, Graph, Value, arg, constant, worst_difference
from graphopt.ops import Add, Conv, MaxPool, Relu, Softmax, Sub
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.lowering import lower

SIZE = 4 * 6 * 6 * 4


def weights(*shape: int) -> Value:
    return constant(np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32))


def conv(x: Value) -> Value:
    return Conv(pads=(1, 1, 1, 1))(x, weights(4, 4, 3, 3), weights(4))


def residual() -> Graph:
    """The stem is added to the second convolution, and read for the last time there."""
    x = arg("x", "float32", (1, 4, 6, 6))
    stem = Relu()(conv(x), name="stem")
    y = Relu()(Add()(conv(Relu()(conv(stem))), stem), name="sum")
    return Graph((x,), (MaxPool(kernel=(3, 3), strides=(2, 2))(y),))


def read_again() -> Graph:
    """Like residual, but the stem is read once more."""
    graph = residual()
    y, stem = graph.node("sum").results[0], graph.node("stem").results[0]
    return Graph(graph.inputs, (Sub()(MaxPool(kernel=(3, 3))(y), MaxPool(kernel=(3, 3))(stem)),))


def anchor_reads_it() -> Graph:
    """conv(x) + x: the anchor reads all of what the epilogue reads."""
    x = arg("x", "float32", (1, 4, 6, 6))
    stem = conv(x)
    return Graph((x,), (MaxPool(kernel=(3, 3))(Add()(conv(stem), stem)),))


def softmax_sum() -> Graph:
    """A softmax keeps its exponentials in the result: an operand added to it must live elsewhere."""
    x = arg("x", "float32", (1, 4, 6, 6))
    stem = conv(x)
    return Graph((x,), (MaxPool(kernel=(3, 3))(Add()(Softmax(axis=1)(stem), conv(stem))),))


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("target", ["host", *in_long_runs("cortex-m4")])
@pytest.mark.parametrize("build", [residual, read_again, anchor_reads_it, softmax_sum])
def test_results_are_right(build: type[Graph], target: str, fuse: bool) -> None:
    graph = build()
    x: Array = np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float32)
    program = compile(Fuse()(graph) if fuse else graph, target)
    assert worst_difference(program.run(x), graph(x)[0]) < 1e-5


def test_a_residual_sum_takes_the_place_of_the_residual() -> None:
    target = get_target("cortex-m4")
    assert lower(Fuse()(residual()), target).plan.size == 2 * SIZE
    assert lower(Fuse()(read_again()), target).plan.size > 2 * SIZE
