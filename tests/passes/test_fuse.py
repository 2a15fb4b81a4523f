"""Fusion: what joins a group, what ends it, what stays apart."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Concat,
    Conv,
    Fused,
    Linear,
    MatMul,
    MaxPool,
    Mul,
    ReduceMax,
    ReduceMean,
    Relu,
    Sigmoid,
    Softmax,
    Sub,
    Tanh,
)
from graphopt.passes import Context, Fuse
from graphopt.testing import check_pass

RNG = np.random.default_rng(0)


def const(*shape: int, name: str = "") -> Value:
    return constant(RNG.uniform(0.5, 1.5, shape).astype(np.float32), name)


def image() -> Value:
    return arg("x", "float32", (Batch(), 3, 6, 8))


def conv(x: Value, name: str = "conv") -> Value:
    w, b = const(3, 3, 3, 3, name=f"{name}.w"), const(3, name=f"{name}.b")
    return Conv(pads=(1, 1, 1, 1))(x, w, b, name=name)


def fuse(*outputs: Value) -> tuple[Graph, list[str], str]:
    """The fused graph, the operators of each of its nodes, and what was declined."""
    inputs = tuple(n.results[0] for n in Graph((), outputs).nodes if n.op.name == "input")
    graph, context = Graph(inputs, outputs), Context()
    check_pass(Fuse(), graph)
    result = Fuse().run(graph, context)
    kernels = [kernel(n.results[0]) for n in result.nodes if n.op.name not in ("input", "constant")]
    return result, kernels, "\n".join(str(n) for n in context.notes if n.declined)


def kernel(value: Value) -> str:
    if not isinstance(value.op, Fused):
        return value.op.name
    return "+".join(n.op.name for n in value.op.body.nodes if n.op.name != "input")


def test_layer_with_its_epilogue() -> None:
    x = image()
    y = BatchNorm()(conv(x), *(const(3, name=f"bn.{i}") for i in range(4)), name="bn")
    residual = arg("r", "float32", x.type.shape)
    y = Sub()(const(3, 1, 1, name="c"), Relu()(Add()(y, residual, name="sum"), name="act"), name="last")
    graph, kernels, _ = fuse(y)
    assert kernels == ["conv+batch_norm+add+relu+sub"]
    (node,) = (n for n in graph.nodes if isinstance(n.op, Fused))
    assert node.name == "last" and node.origins == ("conv", "bn", "sum", "act", "last")
    assert isinstance(node.op, Fused)
    parameters = [v.node.name for v in node.op.body.inputs]
    assert parameters == ["x", "conv.w", "conv.b", "bn.0", "bn.1", "bn.2", "bn.3", "r", "c"]
    assert [v.node.name for v in node.inputs] == parameters
    assert [n.name for n in node.op.body.nodes[len(parameters) :]] == ["conv", "bn", "sum", "act", "last"]


@pytest.mark.parametrize(
    ("tail", "kernels"),
    [
        (ReduceMean(axes=(2, 3)), ["conv+relu+reduce_mean", "tanh"]),
        (ReduceMean(axes=(2, 3), keepdims=False), ["conv+relu+reduce_mean", "tanh"]),
        (MaxPool(kernel=(2, 2), strides=(2, 2)), ["conv+relu+max_pool", "tanh"]),
        (AveragePool(kernel=(3, 4), strides=(3, 4)), ["conv+relu+average_pool", "tanh"]),
        (ReduceMean(axes=(3,)), ["conv+relu", "reduce_mean+tanh"]),
        (ReduceMax(axes=(2, 3)), ["conv+relu", "reduce_max+tanh"]),
        (MaxPool(kernel=(2, 2)), ["conv+relu", "max_pool+tanh"]),
        (MaxPool(kernel=(4, 4), strides=(4, 4)), ["conv+relu", "max_pool+tanh"]),
        (MaxPool(kernel=(2, 2), strides=(2, 2), pads=(0, 0, 1, 1)), ["conv+relu", "max_pool+tanh"]),
        (MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(2, 1)), ["conv+relu", "max_pool+tanh"]),
    ],
)
def test_pooling_ends_a_convolution_where_it_tiles(tail: ReduceMean | MaxPool, kernels: list[str]) -> None:
    _, found, why = fuse(Tanh()(tail(Relu()(conv(image())))))
    assert found == kernels
    assert ("not fused behind" in why) == (len(kernels[0]) < len("conv+relu+"))


def test_pooling_behind_anything_else_begins_a_group() -> None:
    _, kernels, _ = fuse(Relu()(ReduceMean(axes=(2, 3))(Relu()(MaxPool(kernel=(2, 2))(image())))))
    assert kernels == ["max_pool+relu", "reduce_mean+relu"]


def test_values_with_other_readers_are_not_swallowed() -> None:
    y = conv(image())
    _, kernels, why = fuse(Relu()(y), y)
    assert sorted(kernels) == ["conv", "relu"]
    assert "not fused behind conv: that has 2 uses" in why
    z = conv(image())
    _, kernels, _ = fuse(Mul()(z, Sigmoid()(z)))
    assert kernels == ["conv", "sigmoid+mul"]


def test_residual_goes_to_the_later_of_two_layers() -> None:
    x = image()
    first, second = conv(x, "first"), conv(conv(x, "inner"), "second")
    graph, kernels, _ = fuse(Add()(first, second, name="sum"))
    assert kernels == ["conv", "conv", "conv+add"]
    assert graph.node("sum").origins == ("second", "sum")


def test_operand_read_twice_is_passed_once() -> None:
    x = image()
    graph, kernels, _ = fuse(Relu()(Add()(conv(x), x, name="sum"), name="act"))
    assert kernels == ["conv+add+relu"]
    assert len(graph.node("act").inputs) == 3


def test_operator_that_broadcasts_the_result_stays_out() -> None:
    x = arg("x", "float32", (Batch(), 4))
    y = Linear()(x, const(1, 4), const(1))
    _, kernels, why = fuse(Add()(y, const(5)))
    assert kernels == ["linear", "add"]
    assert "it broadcasts float32[N, 1] to float32[N, 5]" in why


def test_elementwise_chains_need_two_operators() -> None:
    x = image()
    assert fuse(Softmax(axis=1)(Relu()(x)))[1] == ["relu", "softmax"]
    assert fuse(Mul()(Relu()(x), const()))[1] == ["relu+mul"]
    assert fuse(Concat(axis=1)(Relu()(x), x))[1] == ["relu", "concat"]


def test_matmul_of_two_values_is_an_anchor() -> None:
    a, b = arg("a", "float32", (Batch(), 3, 4)), arg("b", "float32", (Batch(), 4, 5))
    assert fuse(Relu()(MatMul()(a, b)))[1] == ["matmul+relu"]


def test_operands_that_interleave_make_no_cycle() -> None:
    """Two groups, each reading what the other's start leads to, through nodes that are in neither."""
    x = image()
    left, right = conv(x, "left"), conv(x, "right")
    a = Softmax(axis=1)(Relu()(left))
    b = Relu()(Add()(right, a))
    c = Add()(Softmax(axis=1)(b), conv(b, "third"))
    _, kernels, _ = fuse(c)
    assert sorted(kernels) == ["conv+add", "conv+add+relu", "conv+relu", "softmax", "softmax"]
