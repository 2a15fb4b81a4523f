"""Weights of 4 bits with a factor for each group of input channels: exact, packed, nearer than one scale a channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import KINDS_OF_CODE, Weights
from hypothesis import given
from hypothesis import strategies as st
from mlperf import NETS, calibration, graphs

from graphopt import compile
from graphopt.ir import Graph
from graphopt.ops import Conv, IntegerProduct, Linear, Relu, Reshape, factors_of, stored_form, two_level
from graphopt.passes import Fuse, Quantize
from graphopt.passes.contract import random_inputs, signal_to_noise
from graphopt.passes.quantize.layers import packed_weights


@given(st.integers(1, 5), st.integers(16, 50), st.integers(1, 4), st.integers(0, 99), st.floats(0.1, 3))
def test_what_is_made_has_factors(outputs: int, inputs: int, taps: int, seed: int, spread: float) -> None:
    """Whatever the weights are; and their error is no more than that of any one factor for all groups."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((outputs, inputs, taps)) * np.exp(spread * rng.standard_normal((outputs, inputs, 1)))
    steps *= 127 / np.abs(steps).max(axis=(1, 2), keepdims=True)
    made = two_level(steps)
    factors = factors_of(made)
    assert factors is not None
    assert factors.shape == (outputs, -(-inputs // 16))
    wide = np.repeat(factors, 16, axis=1)[:, :inputs, None]
    assert np.all(np.abs(made // wide) <= 7)
    assert np.array_equal(made // wide * wide, made)
    errors = [np.square(np.clip(np.rint(steps / f), -7, 7) * f - steps).sum() for f in range(1, 19)]
    assert np.square(made - steps).sum() <= min(errors) + 1e-9


def test_ordinary_weights_have_none() -> None:
    weight = np.random.default_rng(0).integers(-127, 128, (8, 32, 3)).astype("int8")
    assert factors_of(weight) is None
    assert factors_of(np.ones((4, 8), np.int8)) is None  # of fewer channels than a group


def net() -> Graph:
    """Convolutions of several groups and widths of channels, padded and not, and a matrix product."""
    g = Weights(3)
    x = Relu()(Conv(pads=(1, 1, 1, 1))(g.x(1, 3, 5, 6), g.w(40, 3, 3, 3), g.w(40), name="stem"))
    y = Conv(pads=(1, 0, 1, 1))(x, g.w(21, 40, 3, 3), g.w(21), name="inner")
    z = Conv(group=2)(x, g.w(34, 20, 1, 1), g.w(34), name="halves")
    return g.graph(y, Linear()(Reshape(shape=(30, 34))(z), g.w(5, 34), g.w(5), name="fc"))


def quantized(weights: str, mode: str = "static") -> Graph:
    data = [random_inputs(net(), seed) for seed in range(8)]
    return Fuse()(Quantize(weights=weights, mode=mode, calibration=data)(net()))


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("target", KINDS_OF_CODE)
def test_programs_are_the_evaluator(target: str, mode: str) -> None:
    graph = quantized("int4-grouped", mode)
    inputs = random_inputs(net(), 9)
    got = compile(graph, target, io="float32").run(**inputs)
    for data, want in zip(got, graph(**inputs), strict=True):
        np.testing.assert_array_equal(data, want)


def test_layers_with_enough_channels_are_grouped() -> None:
    data = [random_inputs(net(), 0)]
    small = Quantize(weights="int4-grouped", calibration=data)(net())
    forms = {n.name: stored_form(n.inputs[1]).value for n in small.nodes if isinstance(n.op, IntegerProduct)}
    grouped = dict.fromkeys(("inner.acc", "halves.acc", "fc.acc"), "int4-grouped")
    assert forms == {"stem.acc": "int4", **grouped}
    assert packed_weights(small)["inner.acc"] == (4, 21 * 40 * 9 // 2 + 21 * 3)


@pytest.mark.parametrize("name", ["kws", "resnet8"])
def test_is_nearer_than_one_scale_a_channel(name: str, shared: Path) -> None:
    """Signal to noise of the outputs on samples that did not calibrate, with weights rounded to nearest in both."""
    graph, data = graphs(shared, name)[0], calibration(shared, name)[:32]
    samples = np.concatenate([s for s, _ in zip(NETS[name].samples(shared), range(164), strict=False)])[-64:]
    want, noise, sizes = graph(samples)[0], {}, {}
    for weights in ("int4", "int4-grouped"):
        small = Quantize(weights=weights, calibration=data, recover=())(graph)
        noise[weights] = signal_to_noise(small(samples)[0], want)
        sizes[weights] = sum(size for _, size in packed_weights(small).values())
    print(f"{name}: {noise} dB, {sizes} bytes")
    assert noise["int4-grouped"] > noise["int4"]
    assert sizes["int4-grouped"] < 1.15 * sizes["int4"]
