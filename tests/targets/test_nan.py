"""NaN and infinity: a compiled program has them where the evaluator has them, on every kind of machine."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from compiling import NATIVE, Weights, assert_close, in_long_runs

from graphopt import compile
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import (
    Add,
    ArgMax,
    ArgMin,
    Cast,
    Celu,
    Clip,
    Conv,
    Div,
    Elu,
    Equal,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Less,
    LessOrEqual,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Not,
    PRelu,
    ReduceMax,
    ReduceMin,
    Relu,
    ScatterElements,
    Selu,
    Sign,
    Softmax,
    Softplus,
    Sub,
    TopK,
    Where,
    Xor,
)
from graphopt.passes import Fuse

SLOW = in_long_runs(*NATIVE[:-1], "armv7", "cortex-m0")
TARGETS = ["host", "aarch64", "cortex-m4", *SLOW]
NAN, INF = np.nan, np.inf
X = np.array([[NAN, 1, NAN, INF, -INF, 0.3, INF, -1.7, NAN, 0, 2]], "float32")
Y = np.array([[1, NAN, NAN, INF, INF, NAN, -INF, -1.7, 0, NAN, 5]], "float32")


def number(value: float) -> Value:
    return constant(np.float32(value))


def as_float(x: Value) -> Value:
    return Cast(to="float32")(x)


def activations(x: Value) -> list[Value]:
    ops = [Relu(), Clip(low=-1.0, high=2.0), HardSigmoid(), HardSwish(), Elu(), Selu(), Celu(), LeakyRelu(), Sign()]
    return [op(x) for op in (*ops, Softplus(), LeakyRelu(alpha=0.0), Elu(alpha=0.0), Clip(high=0.5), Clip(low=0.25))]


def clamps(x: Value, y: Value) -> list[Value]:
    """In the orders and nestings that a simplifier may take for others."""
    return [
        Maximum()(x, y),
        Minimum()(y, x),
        Minimum()(Maximum()(x, y), y),
        Maximum()(number(2), x),
        Minimum()(Maximum()(number(-2), x), number(1)),
        Clip(low=-1.0, high=2.0)(Clip(low=0.0, high=6.0)(x)),
        Maximum()(Clip(low=0.0)(x), number(2)),
        PRelu()(x, y),
    ]


def arithmetic(x: Value, y: Value) -> list[Value]:
    """Of which a simplifier may take away what only finite numbers allow."""
    zero = number(0)
    return [
        *(Mul()(x, zero), Mul()(number(-0.0), x), Div()(zero, x), Div()(x, zero), Div()(x, number(-0.0))),
        *(Sub()(x, x), Div()(x, x), Sub()(Add()(x, y), y), Sub()(Mul()(x, y), Mul()(x, y)), Sub()(x, Add()(y, x))),
    ]


def comparisons(x: Value, y: Value) -> list[Value]:
    less = Less()(x, y)
    made = [
        Not()(less),
        Not()(LessOrEqual()(x, y)),
        Not()(Equal()(x, x)),
        LessOrEqual()(x, x),
        Xor()(less, Less()(y, x)),
    ]
    unknown = Not()(Equal()(Add()(x, y), Add()(x, y)))
    return [*map(as_float, made), Where()(Not()(less), x, y), Where()(unknown, y, x)]


def reductions(x: Value) -> list[Value]:
    ends = [arg_op(axis=1, last=last)(x) for arg_op in (ArgMax, ArgMin) for last in (False, True)]
    sorted_ = [v for largest in (False, True) for v in TopK(k=5, axis=1, largest=largest).apply(x).results]
    at = constant(np.array([[0, 1, 2, 3]]))
    put = [ScatterElements(axis=1, reduction=r)(x, at, constant(Y[:, 7:])) for r in ("max", "min")]
    return [ReduceMax(axes=(1,))(x), ReduceMin(axes=(1,))(x), Softmax(axis=1)(x), *ends, *sorted_, *put]


def images() -> Graph:
    """A fused convolution and poolings over full vectors of channels, each reading windows with and without NaN."""
    g = Weights()
    x = g.x(1, 3, 8, 8)
    y = Relu()(Conv(pads=(1, 1, 1, 1))(x, g.w(17, 3, 3, 3), g.w(17)))
    z = Clip(low=0.0, high=6.0)(Conv(pads=(1, 1, 1, 1))(x, g.w(16, 3, 3, 3), g.w(16)))
    pooled = [MaxPool(kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))(Relu()(x)), MaxPool(kernel=(2, 2))(z)]
    return g.graph(Relu()(y), MaxPool(kernel=(2, 2), strides=(2, 2))(y), *pooled)


@cache
def vectors() -> Graph:
    x, y = arg("x", "float32", X.shape), arg("y", "float32", Y.shape)
    parts = activations(x), clamps(x, y), arithmetic(x, y), comparisons(x, y), reductions(x)
    return Graph((x, y), tuple(v for part in parts for v in part))


def check(graph: Graph, target: str, *inputs: Array) -> None:
    with np.errstate(all="ignore"):
        want = graph(*inputs)
    got = compile(Fuse()(graph), target).measure(dict(zip(names(graph), inputs, strict=True)), count=False).outputs[0]
    assert_close(want, got, target)


def names(graph: Graph) -> list[str]:
    return [graph.names[v.node] for v in graph.inputs]


@pytest.mark.parametrize("target", TARGETS)
def test_elements_and_reductions(target: str) -> None:
    check(vectors(), target, X, Y)


@pytest.mark.parametrize("target", [*SLOW, "host", "cortex-m4"])
def test_convolutions_and_poolings(target: str) -> None:
    image = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype("float32")
    image[0, 1, 2, 5] = image[0, 0, 0, 0] = np.nan
    check(images(), target, image)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_the_rounding_of_a_sum_is_not_simplified_away(target: str) -> None:
    """x + 1.5 * 2^23 - 1.5 * 2^23 is x rounded: a common idiom. TVM's simplifier takes it for x."""
    x, big = arg("x", "float32", (1, 4)), number(1.5 * 2**23)
    graph = Graph((x,), (Sub()(Add()(x, big), big), Sub()(x, Sub()(Add()(x, big), big))))
    values = np.array([[0.3, 1.7, -2.5, 3.5]], "float32")
    rounded, rest = (a for a in compile(Fuse()(graph), target).measure({"x": values}, count=False).outputs[0])
    np.testing.assert_array_equal(rounded, np.rint(values))
    np.testing.assert_array_equal(rest, values - np.rint(values))
