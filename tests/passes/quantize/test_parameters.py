"""Parameters of quantisation: fixed-point ratios, observers, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from compiling import Weights
from hypothesis import given
from hypothesis import strategies as st

from graphopt.errors import ContractViolation, InvalidGraph, InvalidInput
from graphopt.ir import Array, Graph, QParams, asymmetric, constant, fixed_point, symmetric
from graphopt.ops import Conv, ConvInteger, Linear, LinearInteger, Relu
from graphopt.passes import Context, Fuse, Pipeline, Quantize
from graphopt.passes.contract import signal_to_noise
from graphopt.passes.quantize.layers import packed_weights
from graphopt.passes.quantize.observers import BINS, OBSERVERS, Histogram


@given(st.floats(min_value=2.0**-31, max_value=2.0**28))
def test_fixed_point_has_31_bits(ratio: float) -> None:
    multiplier, shift = fixed_point(ratio)
    assert 1 << 30 <= multiplier < 1 << 31
    assert 1 <= shift <= 62
    assert abs(multiplier / 2**shift - ratio) <= ratio * 2.0**-31


@pytest.mark.parametrize("ratio", [0.0, 2.0**-40, 2.0**-62, -0.3, 1 - 2.0**-40])
def test_fixed_point_of_what_is_small_negative_or_nearly_one(ratio: float) -> None:
    multiplier, shift = fixed_point(ratio)
    assert abs(multiplier) < 1 << 31
    assert 1 <= shift <= 62
    assert abs(multiplier / 2**shift - ratio) <= max(abs(ratio) * 2.0**-31, 2.0**-63)


@pytest.mark.parametrize("ratio", [2.0**29, float("inf"), float("nan")])
def test_fixed_point_refuses(ratio: float) -> None:
    with pytest.raises(InvalidGraph, match="ratio"):
        fixed_point(ratio)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from([8, 16]))
def test_zero_is_met_exactly(a: float, b: float, bits: int) -> None:
    parameters = asymmetric(min(a, b), max(a, b), bits)
    zero = parameters.quantize(np.zeros(1, np.float32))
    assert parameters.dequantize(zero) == 0
    ends = np.array([min(a, b, 0), max(a, b, 0)], np.float32)
    error = np.abs(parameters.dequantize(parameters.quantize(ends)) - ends)
    assert error.max() <= float(parameters.scale) * 1.01


def test_a_channel_of_zeros_has_a_scale() -> None:
    parameters = symmetric(np.array([0.0, 1.0]), axis=0)
    assert np.all(parameters.scale > 0)
    assert np.all(parameters.quantize(np.zeros((2, 3), np.float32)) == 0)


def test_scales_must_be_positive() -> None:
    with pytest.raises(InvalidGraph, match="positive"):
        QParams(np.float32(0), np.int8(0))  # type: ignore[arg-type]


def histogram_of(x: Array) -> Histogram:
    return Histogram(float(x.min()), float(x.max()), np.histogram(x, BINS)[0])


@pytest.mark.parametrize("observer", ["percentile", "entropy"])
def test_outliers_are_cut(observer: str) -> None:
    """A bell with a few far outliers: the range is that of the bell, whose error is less."""
    x = np.random.default_rng(0).standard_normal(100_000)
    x[:3] = 60.0
    low, high = OBSERVERS[observer](histogram_of(x), 8)
    assert -10 < low <= -2
    assert 2 <= high < 30
    bell = x[3:].astype(np.float32)
    tight, wide = asymmetric(low, high), asymmetric(float(x.min()), 60.0)
    errors = [np.square(p.dequantize(p.quantize(bell)) - bell).mean() for p in (tight, wide)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("bits", [4, 8])
def test_mse_has_the_least_error(bits: int) -> None:
    """Of a heavy-tailed distribution, less than of the whole range; the fewer bits, the tighter."""
    x = np.random.default_rng(0).laplace(size=100_000).astype(np.float32)
    low, high = OBSERVERS["mse"](histogram_of(x), bits)
    assert float(x.min()) < low < -2
    assert 2 < high < float(x.max())
    tight, wide = asymmetric(low, high, bits), asymmetric(float(x.min()), float(x.max()), bits)
    errors = [np.square(p.dequantize(p.quantize(x)) - x).mean() for p in (tight, wide)]
    assert errors[0] < errors[1]


def test_minmax_is_the_range() -> None:
    x = np.array([-2.0, 0.5, 60.0])
    assert OBSERVERS["minmax"](histogram_of(x), 8) == (-2.0, 60.0)


def net(seed: int = 0) -> Graph:
    g = Weights(seed)
    x = Relu()(Conv(pads=(1, 1, 1, 1))(g.x(1, 2, 4, 4), g.w(6, 2, 3, 3), g.w(6), name="stem"))
    return g.graph(Conv()(x, g.w(3, 6, 1, 1), g.w(3), name="head"))


def samples(count: int = 8) -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((1, 2, 4, 4)).astype("float32") for _ in range(count)]


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_every_choice_computes(observer: str, per_channel: bool) -> None:
    graph, data = net(), samples()
    small = Quantize(calibration=data, observer=observer, per_channel=per_channel)(graph)
    got, want = (np.stack([g(x)[0] for x in data]) for g in (small, graph))
    assert signal_to_noise(got, want) > 20


def test_int16_activations_are_closer() -> None:
    graph, data = net(), samples()
    noise = {}
    for activations in ("int8", "int16"):
        small = Fuse()(Quantize(calibration=data, activations=activations)(graph))
        noise[activations] = signal_to_noise(*(np.stack([g(x)[0] for x in data]) for g in (small, graph)))
    assert noise["int16"] > noise["int8"] + 3


def test_overrides_by_pattern() -> None:
    small = Quantize(calibration=samples(), overrides={"*": "int8", "head": "float32"})(net())
    assert [n.name for n in small.nodes if isinstance(n.op, Conv)] == ["head"]
    assert sum(isinstance(n.op, ConvInteger) for n in small.nodes) == 1


def test_the_width_of_weights_by_layer() -> None:
    small = Quantize(calibration=samples(), overrides={"stem": "int4"})(net())
    assert {name: bits for name, (bits, _) in packed_weights(small).items()} == {"stem.acc": 4, "head.acc": 8}


def once() -> Iterator[Array]:
    yield from samples()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no calibration data"),
        ({"calibration": []}, "no data"),
        ({"calibration": once()}, "but once"),
        ({"calibration": [np.zeros((1, 2, 4, 5), np.float32)]}, "needed"),
        ({"calibration": [np.full((1, 2, 4, 4), np.nan, np.float32)]}, "NaN on the calibration data"),
        ({"calibration": samples(), "observer": "median"}, "'median' is none of minmax"),
        ({"calibration": samples(), "weights": "int3"}, "'int3' is none of int8"),
        ({"calibration": samples(), "mode": "lazy"}, "'lazy' is none of static"),
        ({"calibration": samples(), "overrides": {"head": "int5"}}, "overrides of 'head'"),
    ],
)
def test_what_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Quantize(**options)(net())  # type: ignore[arg-type]


def test_tiny_weights_under_a_large_bias() -> None:
    """Their scale is floored by the bias, which would overflow the accumulator else."""
    g = Weights()
    weight = constant(np.full((3, 4), 1e-12, np.float32))
    graph = g.graph(Linear()(g.x(1, 4), weight, constant(np.array([0.9, -0.5, 0.0], np.float32)), name="dead"))
    data = [np.random.default_rng(2).standard_normal((1, 4)).astype("float32")]
    small = Quantize(calibration=data)(graph)
    assert any(isinstance(n.op, LinearInteger) for n in small.nodes)
    np.testing.assert_allclose(small(data[0])[0], graph(data[0])[0], atol=0.01)


@pytest.mark.parametrize("as_field", [True, False])
def test_a_pipeline_holds_quantisation_to_its_contract_on_its_data(as_field: bool) -> None:
    """Data that a context brings reaches the check too; a bound that cannot be met is said so."""
    data = [x * np.float32(40) for x in samples()]  # far from what random inputs would be
    given = {"calibration": data} if as_field else {}
    small = Pipeline([Quantize(**given), Fuse()], check=True)(net(), Context(calibration=data))
    assert small.inputs[0].type == net().inputs[0].type
    hopeless = Quantize(weights="binary", overrides={"*": "xnor"}, recover=())
    with pytest.raises(ContractViolation, match="dB of signal to noise"):
        Pipeline([hopeless], check=True)(net(), Context(calibration=data))
