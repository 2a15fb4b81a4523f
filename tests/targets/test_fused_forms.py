"""Elementwise operators behind an anchor: one kernel, and the same numbers as that of a kernel each."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE, Weights, in_long_runs

from graphopt import compile
from graphopt.ir import Graph, Value, constant
from graphopt.ops import (
    Add,
    And,
    BitwiseNot,
    Cast,
    Conv,
    ConvInteger,
    Greater,
    IntegerSqrt,
    IsInf,
    IsNan,
    Less,
    Linear,
    Lookup,
    Mul,
    Neg,
    Not,
    Or,
    Quantize,
    ReduceMean,
    Relu,
    Requantize,
    Sqrt,
    Where,
    Xor,
)
from graphopt.passes import Fuse
from graphopt.passes.contract import random_inputs

TARGETS = ["host", *in_long_runs(*NATIVE[:-1], "aarch64", "cortex-m4")]


def convolved(g: Weights) -> Value:
    """A convolution of more channels than a vector has lanes, and an odd number of them."""
    return Conv(pads=(1, 1, 1, 1))(g.x(1, 3, 5, 6), g.w(19, 3, 3, 3), g.w(19))


SHAPE = (1, 19, 5, 6)


def selected(g: Weights) -> Value:
    """One operand or another, by a comparison and a mask."""
    inside = And()(Greater()(convolved(g), g.x(*SHAPE)), g.x(*SHAPE, dtype="bool"))
    return Where()(Not()(inside), g.x(*SHAPE), constant(np.float32(0)))


def logical(g: Weights) -> Value:
    mask, half = g.x(*SHAPE, dtype="bool"), constant(np.full((1, 19, 1, 1), 0.5, "float32"))
    return Xor()(Or()(Less()(half, convolved(g)), mask), g.x(1, 19, 1, 1, dtype="bool"))


def strange(g: Weights) -> Value:
    return Xor()(IsNan()(Sqrt()(convolved(g))), g.x(*SHAPE, dtype="bool"))


def never(g: Weights) -> Value:
    return IsInf(negative=False, positive=False)(convolved(g))


def integers(g: Weights) -> Value:
    return BitwiseNot()(Cast(to="int32")(Mul()(convolved(g), constant(np.float32(100)))))


def rooted(g: Weights) -> Value:
    y = Linear()(g.x(3, 7), g.w(19, 7), g.w(19))
    return IntegerSqrt()(Cast(to="int64")(Relu()(Mul()(y, constant(np.float32(1000))))))


def looked_up(g: Weights) -> Value:
    """A table behind the requantized sums, and sums of two numbers looked up."""
    rng = np.random.default_rng(5)
    weight = constant(rng.integers(-127, 128, (19, 3, 3, 3)).astype("int8"))
    acc = ConvInteger(pads=(1, 1, 1, 1))(g.x(1, 3, 5, 6, dtype="int8"), weight, constant(np.zeros(19, "int32")))
    multiplier = constant(np.full((1, 19, 1, 1), 1 << 30, "int32"))
    q = Requantize(to="int8", low=-128, high=127)(acc, multiplier, constant(np.full((1, 19, 1, 1), 37, "int32")))
    first = Lookup()(q, constant(rng.integers(-128, 128, 256).astype("int8")))
    return Add()(Lookup()(first, constant(rng.normal(size=256).astype("float32"))), g.x(1, 19, 5, 6))


def pooled(g: Weights) -> Value:
    return ReduceMean(axes=(2, 3))(Where()(Less()(convolved(g), g.x(*SHAPE)), g.x(*SHAPE), constant(np.float32(1))))


FORMS = {
    "select": selected,
    "logic": logical,
    "strange": strange,
    "never": never,
    "integers": integers,
    "root": rooted,
    "pooled": pooled,
    "lookup": looked_up,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMS)
def test_one_kernel_of_the_same_numbers(form: str, target: str) -> None:
    g = Weights()
    graph = g.graph(FORMS[form](g))
    whole, single = compile(Fuse()(graph), target), compile(graph, target)
    assert len(whole.manifest["kernels"]) == 1 < len(single.manifest["kernels"])
    inputs = random_inputs(graph, seed=3)
    (got,), (want,) = (p.measure(inputs, count=False).outputs[0] for p in (whole, single))
    if form == "pooled":  # summed in another order
        np.testing.assert_allclose(got, want, rtol=1e-5)
    else:
        np.testing.assert_array_equal(got, want)


def test_a_quantize_is_one_kernel() -> None:
    g = Weights()
    scale, zero = constant(np.array([0.01, 0.02, 0.03], "float32")), constant(np.zeros(3, "int8"))
    x = Add()(g.x(1, 3, 4, 4), constant(np.float32(1)))
    graph = g.graph(Quantize(axis=1)(x, scale, zero))
    assert [k["kernel"] for k in compile(graph, io="float32").manifest["kernels"]] == ["add", "cast"]


def test_parts_of_a_decomposition_have_the_name_of_the_node() -> None:
    from graphopt.ops import LSTM

    g = Weights()
    made = LSTM().apply(g.x(4, 1, 3), g.w(1, 20, 3), g.w(1, 20, 5), g.w(1, 40), name="encoder.lstm")
    kernels = compile(Graph(tuple(g.inputs), made.results[:1])).manifest["kernels"]
    assert len(kernels) > 1
    assert all(k["node"].startswith("encoder.lstm") for k in kernels)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_a_table_that_is_computed_is_no_part_of_a_kernel(target: str) -> None:
    g = Weights()
    table, x = Neg()(g.x(256, dtype="int8")), g.x(256, dtype="int8")
    graph = g.graph(Lookup()(x, table), Lookup()(Neg()(x), Neg()(Neg()(table))))
    inputs = random_inputs(graph, seed=0)
    (got,) = compile(Fuse()(graph), target).measure(inputs, count=False).outputs
    for y, want in zip(got, graph(**inputs), strict=True):
        np.testing.assert_array_equal(y, want)
