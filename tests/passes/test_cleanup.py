"""The cleanup passes, case by case."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import (
    Abs,
    Add,
    Clip,
    Concat,
    Div,
    Expand,
    Identity,
    MaxPool,
    Mul,
    Neg,
    Pad,
    Pow,
    ReduceMean,
    ReduceSum,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Split,
    Sub,
    Tanh,
    Transpose,
)
from graphopt.passes import CommonSubexpressions, Context, RemoveIdentities, SimplifyReshapes
from graphopt.testing import check_pass

X = arg("x", "float32", (Batch(), 2, 3, 4))
ONE, ZERO = (constant(np.float32(v)) for v in (1, 0))
INF = float("inf")


def ops(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes if n.op.name not in ("input", "constant")]


@pytest.mark.parametrize(
    "y",
    [
        Identity()(X),
        Reshape(shape=X.type.shape)(X),
        Transpose(perm=(0, 1, 2, 3))(X),
        Slice(axis=1, start=0, stop=2)(X),
        Pad(pads=(0,) * 8, value=3.0)(X),
        Expand(shape=X.type.shape)(X),
        Concat(axis=1)(X),
        Split(axis=1, sizes=(2,))(X),
        Resize(sizes=(3, 4), coordinates="half_pixel", rounding="round_prefer_floor")(X),
        MaxPool(kernel=(1, 1))(X),
        Clip()(X),
        Add()(ZERO, X),
        Sub()(X, ZERO),
        Mul()(X, ONE),
        Div()(X, ONE),
        Pow()(X, ONE),
        Neg()(Neg()(X)),
    ],
    ids=lambda y: y.op.name,
)
def test_what_computes_nothing_goes(y: Value) -> None:
    assert ops(check_pass(RemoveIdentities(), Graph((X,), (Tanh()(y),)))) == ["tanh"]


@pytest.mark.parametrize(
    "y",
    [
        Mul()(X, constant(np.ones((1, 1, 1, 1, 1), np.float32))),
        Sub()(ZERO, X),
        Div()(ONE, X),
        Pow()(ONE, X),
        Concat(axis=1)(X, X),
        Split(axis=1, sizes=(1, 1)).apply(X).results[1],
        Transpose(perm=(0, 1, 3, 2))(X),
        Resize(sizes=(3, 4), coordinates="asymmetric", rounding="floor")(Slice(axis=2, start=0, stop=2)(X)),
        ReduceMean(axes=(1,))(X),
        Relu()(Tanh()(X)),
        Clip(low=1.0, high=-1.0)(Clip(low=0.0)(X)),
        Clip(low=0.0)(Clip(low=1.0, high=-1.0)(X)),
    ],
    ids=lambda y: y.op.name,
)
def test_what_computes_something_stays(y: Value) -> None:
    graph = Graph((X,), (y,))
    assert str(check_pass(RemoveIdentities(), graph)) == str(graph)


@pytest.mark.parametrize(
    ("y", "left"),
    [
        (Relu()(Relu()(X)), Relu()),
        (Relu()(Sigmoid()(X)), Sigmoid()),
        (Abs()(Neg()(X)), Abs()),
        (Clip(low=0.0, high=6.0)(Relu()(X)), Clip(low=0.0, high=6.0)),
        (Relu()(Clip(low=-1.0, high=6.0)(X)), Clip(low=0.0, high=6.0)),
        (Clip(low=2.0, high=3.0)(Clip(low=0.0, high=1.0)(X)), Clip(low=2.0, high=2.0)),
        (Clip(low=-INF, high=5.0)(Clip(low=1.0, high=INF)(X)), Clip(low=1.0, high=5.0)),
    ],
)
def test_activations_that_imply_others(y: Value, left: object) -> None:
    (result,) = check_pass(RemoveIdentities(), Graph((X,), (y,))).outputs
    assert result.op == left and result.node.inputs == (X,)


def test_splits_keep_all_results() -> None:
    parts = Split(axis=3, sizes=(1, 3)).apply(Identity()(X)).results
    graph = check_pass(RemoveIdentities(), Graph((X,), (parts[0],)))
    assert len(graph.outputs[0].node.results) == 2


def test_same_nodes_become_one_and_equal_constants_keep_their_names() -> None:
    first, second = (constant(np.arange(4, dtype=np.float32), name) for name in "ab")
    y = Mul()(Add()(X, first, name="p"), Add()(second, X, name="q"), name="y")
    context = Context()
    result = CommonSubexpressions().run(Graph((X,), (y,)), context)
    check_pass(CommonSubexpressions(), Graph((X,), (y,)))
    assert ops(result) == ["add", "mul"]
    assert result.node("p").origins == ("p", "q")
    assert result.node("a").origins == ("a",)

    z = Mul()(Add()(X, first, name="p"), Mul()(X, second, name="q"), name="z")
    kept = CommonSubexpressions()(Graph((X,), (z,)))
    assert {"a", "b"} <= set(kept.names.values())
    assert [str(n) for n in context.notes] == ["cse: q: the same as p"]


def test_what_differs_is_kept_apart() -> None:
    other = arg("other", "float32", X.type.shape)
    int_zero, float_zero = constant(np.zeros(1, np.int32)), constant(np.zeros(1, np.float32))
    negative_zero = constant(np.array([-0.0], np.float32))
    outputs = (
        Sub()(X, other),
        Sub()(other, X),
        Clip(low=0.0)(X),
        Clip(low=1.0)(X),
        int_zero,
        float_zero,
        negative_zero,
    )
    graph = Graph((X, other), outputs)
    assert str(check_pass(CommonSubexpressions(), graph)) == str(graph)


def test_results_of_merged_splits_keep_their_places() -> None:
    split = Split(axis=1, sizes=(1, 1))
    a, b = split.apply(X).results, split.apply(X).results
    result = check_pass(CommonSubexpressions(), Graph((X,), (Sub()(a[0], b[1]), Sub()(b[0], a[1]))))
    assert ops(result) == ["split", "sub"]


NHWC, NCHW = Transpose(perm=(0, 2, 3, 1)), Transpose(perm=(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("y", "left"),
    [
        (Reshape(shape=(Batch(), 24))(Reshape(shape=(Batch(), 6, 4))(X)), ["reshape"]),
        (Reshape(shape=X.type.shape)(Reshape(shape=(Batch(), 24))(X)), []),
        (NCHW(NHWC(X)), []),
        (NHWC(NHWC(X)), ["transpose"]),
        (Transpose(perm=(0, 2, 1))(Reshape(shape=(Batch(), 24, 1))(X)), ["reshape"]),
        (NCHW(Relu()(Mul()(NHWC(X), constant(np.arange(2, dtype=np.float32))))), ["mul", "relu"]),
        (NHWC(Relu()(Sub()(constant(np.arange(4, dtype=np.float32)[:, None]), NHWC(X)))), ["transpose", "sub", "relu"]),
        (Reshape(shape=X.type.shape)(Add()(Relu()(Reshape(shape=(Batch(), 24))(X)), ONE)), ["relu", "add"]),
        (Sub()(NHWC(X), NHWC(Identity()(X))), ["identity", "sub", "transpose"]),
        (Add()(X, Expand(shape=X.type.shape)(ONE)), ["add"]),
        (Sub()(Expand(shape=(2, 3, 4))(Expand(shape=(3, 4))(ONE)), X), ["sub"]),
        (Reshape(shape=(Batch(), 2))(ReduceMean(axes=(2, 3))(X)), ["reduce_mean"]),
        (Reshape(shape=(Batch(), 2, 1, 1))(ReduceSum(axes=(2, 3), keepdims=False)(X)), ["reduce_sum"]),
    ],
)
def test_moves_that_are_not_needed_go(y: Value, left: list[str]) -> None:
    assert ops(check_pass(SimplifyReshapes(), Graph((X,), (y,)))) == left


@pytest.mark.parametrize(
    "y",
    [
        Reshape(shape=X.type.shape)(Add()(Reshape(shape=(Batch(), 24))(X), constant(np.ones(24, np.float32)))),
        NHWC(X),
        Add()(ONE, Expand(shape=(2, 3))(ONE)),
        Reshape(shape=(Batch(), 1, 2))(ReduceMean(axes=(2, 3))(X)),
    ],
)
def test_moves_that_are_needed_stay(y: Value) -> None:
    graph = Graph((X,), (y,))
    assert str(check_pass(SimplifyReshapes(), graph)) == str(graph)


def test_transposes_between_which_another_reads_stay() -> None:
    between = Relu()(NHWC(X))
    graph = Graph((X,), (NCHW(between), between))
    assert str(check_pass(SimplifyReshapes(), graph)) == str(graph)


def test_operands_transposed_differently_stay() -> None:
    cube = arg("cube", "float32", (3, 3, 3))
    graph = Graph((cube,), (Sub()(Transpose(perm=(1, 0, 2))(cube), Transpose(perm=(2, 1, 0))(cube)),))
    context = Context()
    assert str(SimplifyReshapes().run(graph, context)) == str(graph)
    assert any("transposed differently" in n.text for n in context.notes)
