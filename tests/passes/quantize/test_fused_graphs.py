"""Passes that look for layers, on a graph that is fused already: they open it and find the same as in front of it."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import BatchNorm, Conv, Fused, Relu, Reshape
from graphopt.passes import (
    Context,
    CorrectBias,
    EqualizeLayers,
    Fuse,
    InsertQuantization,
    LowerInteger,
    MixedPrecision,
    Pass,
    Pipeline,
    Quantize,
    ReestimateBatchNorm,
    RoundWeights,
    StoreHalf,
    analyze_quantization,
)

RNG = np.random.default_rng(0)
DATA = [RNG.standard_normal((2, 3, 6, 6)).astype("float32") for _ in range(2)]


def weights(*shape: int) -> Value:
    return constant(RNG.standard_normal(shape).astype("float32") / 3)


def net() -> Graph:
    x = arg("x", "float32", (Batch(), 3, 6, 6))
    y = Relu()(Conv()(x, weights(8, 3, 3, 3), weights(8), name="first"))
    norm = [constant(np.ones(8, "float32")) if i in (0, 3) else weights(8) for i in range(4)]
    y = BatchNorm()(Conv()(y, weights(8, 8, 1, 1), weights(8), name="second"), *norm, name="norm")
    y = Relu()(Conv()(Relu()(y), weights(4, 8, 3, 3), weights(4), name="third"))
    return Graph((x,), (Reshape(shape=(Batch(), 16))(y),))


NET = net()
FUSED = Fuse()(NET)

PASSES: list[Pass] = [
    Quantize(calibration=DATA),
    Quantize(calibration=DATA, overrides={"second": "int4"}),
    Quantize(mode="dynamic"),
    MixedPrecision(calibration=DATA),
    InsertQuantization(calibration=DATA),
    EqualizeLayers(),
    ReestimateBatchNorm(calibration=DATA),
    StoreHalf(),
]


@pytest.mark.parametrize("pass_", PASSES, ids=lambda p: p.name)
def test_the_same_as_in_front_of_fuse(pass_: Pass) -> None:
    assert any(isinstance(node.op, Fused) for node in FUSED.nodes)
    context = Context()
    assert str(pass_.run(FUSED, context)) == str(pass_(NET))
    assert any("fused already" in str(note) for note in context.notes)


@pytest.mark.parametrize("behind", [RoundWeights(), CorrectBias(), LowerInteger()], ids=lambda p: p.name)
def test_behind_insertion(behind: Pass) -> None:
    passes = [InsertQuantization(calibration=DATA, weights="int4")]
    graphs = [Pipeline([*passes, *between, behind])(NET, Context()) for between in ([], [Fuse()])]
    assert str(graphs[0]) == str(graphs[1])


def test_analysis() -> None:
    reports = [analyze_quantization(graph, DATA) for graph in (NET, FUSED)]
    assert reports[0].to_json() == reports[1].to_json()


def test_what_is_integer_stays_fused() -> None:
    small = Fuse()(Quantize(calibration=DATA)(NET))
    context = Context()
    assert str(LowerInteger().run(small, context)) == str(small)
    assert not [note for note in context.notes if "fused already" in str(note)]
