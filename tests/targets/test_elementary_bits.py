"""Elementary functions in programs: the bits of the evaluator on every kind of machine."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE, assert_close, in_long_runs

from graphopt import compile
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import (
    Add,
    Celu,
    Conv,
    Cos,
    Elu,
    Erf,
    Exp,
    Gelu,
    LayerNorm,
    Linear,
    Log,
    Mish,
    Pow,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    Selu,
    Sigmoid,
    Silu,
    Sin,
    Softmax,
    Softplus,
    Swish,
    Tanh,
)
from graphopt.passes import Fuse

COUNT = 1003
"""No multiple of any number of lanes: narrower vectors end the loops."""
OPS = (
    *(Exp(), Log(), Sigmoid(), Tanh(), Erf(), Silu(), Gelu(), Gelu(tanh=True), Softplus(), Mish(), Elu(), Selu()),
    *(Celu(alpha=0.7), Swish(alpha=1.5), Sin(), Cos()),
)
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 88.7228, 88.73, -87.3, -87.4, -103.9, -104.0, 1e-45, -1e-38, 9.02, 3e38]
NORMAL = 2.0**-126


def drawn() -> Array:
    """Numbers of all magnitudes, numbers as nets have them, and edges."""
    rng = np.random.default_rng(0)
    anything = rng.integers(0, 1 << 32, COUNT, dtype=np.uint32).view(np.float32)
    usual = rng.normal(size=COUNT).astype(np.float32) * rng.choice(np.float32([0.1, 1, 5, 30]), COUNT)
    x = np.where(rng.random(COUNT) < 0.5, anything, usual)
    x[: len(EDGES)] = EDGES
    return x[None]


def exponents() -> Array:
    """Of all kinds, many of them integers."""
    rng = np.random.default_rng(1)
    return np.where(rng.random((1, COUNT)) < 0.5, rng.permutation(drawn()[0]), rng.integers(-9, 9, (1, COUNT))).astype(
        np.float32
    )


def results(graph: Graph, target: str, **inputs: Array) -> list[Array]:
    return list(compile(graph, target).measure(inputs, count=False).outputs[0])


@pytest.mark.parametrize(
    "target",
    ["host", "aarch64", "cortex-m4", *in_long_runs(*NATIVE[:-1], "cortex-m0", "cortex-m3", "cortex-m7", "cortex-m55")],
)
def test_the_bits_are_those_of_the_evaluator(target: str) -> None:
    x = arg("x", "float32", (1, COUNT))
    values = *(op(x) for op in OPS), Pow()(x, constant(exponents()))
    graph = Graph((x,), values)
    with np.errstate(all="ignore"):
        wanted = graph(drawn())
    for value, want, got in zip(values, wanted, results(graph, target, x=drawn()), strict=True):
        same = (want.view(np.int32) == got.view(np.int32)) | (np.isnan(want) & np.isnan(got))
        assert same.all(), f"{value.op.name}: {drawn()[~same][:5]} gives {got[~same][:5]}, not {want[~same][:5]}"


@pytest.mark.slow
def test_the_bits_differ_on_armv7_where_something_is_subnormal_alone() -> None:
    x = arg("x", "float32", (1, COUNT))
    data = np.where(np.abs(drawn()) < 80, drawn(), np.float32(1))
    data = np.where(np.abs(data) < 1e-6, np.float32(1), data)  # whose squares and cubes are normal numbers
    graph = Graph((x,), tuple(op(x) for op in OPS))
    with np.errstate(all="ignore"):
        wanted = graph(data)
    for op, want, got in zip(OPS, wanted, results(graph, "armv7", x=data), strict=True):
        same = (want.view(np.int32) == got.view(np.int32)) | (np.isnan(want) & np.isnan(got))
        assert (same | (np.abs(want) < NORMAL)).all(), op.name


def rows(x: Value, y: Value) -> list[Value]:
    """Of [2, 5, 37] and [1, 6, 5, 7]: along, across and over axes that lie as one."""
    rng = np.random.default_rng(1)
    pairs = [[constant(rng.normal(size=s).astype("float32")) for _ in range(2)] for s in ((37,), (5, 37), (6, 5, 7))]
    norms = [LayerNorm()(x, *pairs[0]), LayerNorm(epsilon=0.1)(x, *pairs[1]), LayerNorm()(y, *pairs[2])]
    softmaxes = [Softmax(axis=a)(x) for a in range(3)] + [Softmax(axis=a)(y) for a in range(1, 4)]
    kinds = (ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd)
    reductions = [kind(axes=axes, keepdims=False)(x) for kind in kinds for axes in ((2,), (1, 2), (0, 2), (1,))]
    return [*norms, Sigmoid()(norms[0]), *softmaxes, Add()(softmaxes[2], x), *reductions]


@pytest.mark.parametrize("target", ["host", "aarch64", "cortex-m4", *in_long_runs(*NATIVE[:-1], "armv7", "cortex-m0")])
@pytest.mark.parametrize("spoiled", [False, True], ids=["numbers", "NaN and infinity"])
def test_rows(target: str, spoiled: bool) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 5, 37)).astype("float32"), rng.normal(size=(1, 6, 5, 7)).astype("float32")
    if spoiled:
        x[0, 1, 3], x[1, 2, 36], x[1, 3, 0], y[0, 2, 1, 6] = np.nan, np.inf, -np.inf, np.nan
    values = arg("x", "float32", x.shape), arg("y", "float32", y.shape)
    graph = Graph(values, tuple(rows(*values)))
    with np.errstate(all="ignore"):
        want = graph(x, y)
    assert_close(want, results(Fuse()(graph), target, x=x, y=y), target)


@pytest.mark.parametrize("target", ["host", "aarch64", "cortex-m4"])
def test_behind_products(target: str) -> None:
    """In the epilogue of a convolution and a linear layer, whose channels are no multiple of the lanes."""
    rng = np.random.default_rng(3)

    def weight(*shape: int) -> Value:
        return constant((rng.normal(size=shape) * 0.4).astype("float32"))

    x, y = arg("x", "float32", (1, 3, 6, 6)), arg("y", "float32", (4, 10))
    image = Silu()(Conv(pads=(1, 1, 1, 1))(x, weight(21, 3, 3, 3), weight(21)))
    flat = Linear()(y, weight(19, 10), weight(19))
    graph = Graph((x, y), (image, Gelu()(flat), Gelu(tanh=True)(Linear()(y, weight(5, 10), weight(5)))))
    inputs = rng.normal(size=(1, 3, 6, 6)).astype("float32"), rng.normal(size=(4, 10)).astype("float32")
    got = results(Fuse()(graph), target, x=inputs[0], y=inputs[1])
    assert_close(graph(*inputs), got, target)
