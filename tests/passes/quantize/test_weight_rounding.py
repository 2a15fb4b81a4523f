"""Rounding by what a layer gives: never worse than to nearest, for any moments; moments are those of the layer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.ir import Array
from graphopt.ops import Conv, Linear
from graphopt.passes.quantize.recover.moments import Moments, moments
from graphopt.passes.quantize.recover.rounding import compensated, damped, descend, nearest, round_weights


def draw_case(seed: int, g: int, o: int, k: int, n: int, drift: float) -> tuple[Array, Moments]:
    """Weights, and moments of correlated inputs, those of the float net being off by ``drift``."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((g, n, k)) @ rng.standard_normal((g, k, k)) + rng.standard_normal(k)
    weights = rng.standard_normal((g, o, k)) * 10.0 ** rng.uniform(-3, 3, (g, o, 1))
    x = z + drift * rng.standard_normal(z.shape)
    t = x @ weights.swapaxes(1, 2)
    z_mean, t_mean = z.mean(1), t.mean(1)
    zc, tc = z - z_mean[:, None], t - t_mean[:, None]
    cross = tc.swapaxes(1, 2) @ zc / n
    return weights, Moments(zc.swapaxes(1, 2) @ zc / n, cross, (tc**2).mean(1), z_mean, t_mean)


@given(
    seed=st.integers(0, 2**32 - 1),
    g=st.integers(1, 3),
    o=st.integers(1, 4),
    k=st.integers(1, 7),
    n=st.integers(1, 20),
    drift=st.sampled_from([0.0, 0.1, 3.0]),
    limit=st.sampled_from([1, 7, 127]),
)
def test_no_channel_is_worse_than_rounded_to_nearest(
    seed: int, g: int, o: int, k: int, n: int, drift: float, limit: int
) -> None:
    weights, found = draw_case(seed, g, o, k, n, drift)
    scale = np.abs(weights).max(-1) / limit
    least = scale * np.random.default_rng(seed).uniform(0, 1, scale.shape)
    integers, chosen = round_weights(weights, found, scale, least, limit)
    assert np.array_equal(integers, np.rint(integers))
    assert np.abs(integers).max() <= limit
    assert limit > 1 or integers.all()
    assert (chosen >= least).all()
    simple = found.error(nearest(weights / scale[..., None], limit) * scale[..., None])
    assert (found.error(integers * chosen[..., None]) <= simple).all()


def test_one_scale_for_all_channels_stays_one() -> None:
    weights, found = draw_case(5, 1, 6, 9, 40, 0.1)
    scale = np.full((1, 6), np.abs(weights).max() / 7)
    integers, chosen = round_weights(weights, found, scale, np.zeros((1, 6)), 7, shared=True)
    assert len(np.unique(chosen)) == 1
    simple = found.error(nearest(weights / scale[..., None], 7) * scale[..., None])
    assert found.error(integers * chosen[..., None]).sum() <= simple.sum()


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 12))
def test_no_sweep_raises_the_error(seed: int, k: int) -> None:
    weights, found = draw_case(seed, 2, 3, k, 30, 0.1)
    hessian, target = damped(weights, found)
    steps = target / (np.abs(weights).max(-1, keepdims=True) / 7)

    def error(q: Array) -> Array:
        return np.asarray((((steps - q) @ hessian) * (steps - q)).sum(-1))

    for start in (nearest(steps, 7), compensated(steps, hessian, 7)):
        assert (error(descend(steps, hessian, start, 7)) <= error(start) * (1 + 1e-9)).all()


def test_correlated_inputs_gain_much() -> None:
    """Where inputs are correlated, rounding together leaves less than half the error of rounding each by itself."""
    weights, found = draw_case(1, 1, 16, 64, 200, 0.0)
    scale = np.abs(weights).max(-1) / 7
    integers, chosen = round_weights(weights, found, scale, scale * 0, 7)
    simple = found.error(nearest(weights / scale[..., None], 7) * scale[..., None]).sum()
    assert found.error(integers * chosen[..., None]).sum() < simple / 2


LAYERS = [
    (Conv(pads=(1, 0, 2, 1), strides=(2, 1)), (3, 4, 7, 6), (5, 4, 3, 3)),
    (Conv(pads=(1, 1, 1, 1), group=4), (3, 4, 7, 6), (4, 1, 3, 3)),
    (Conv(group=2, dilations=(2,)), (3, 4, 9), (6, 2, 3)),
    (Linear(), (3, 5, 4), (6, 4)),
]


@pytest.mark.parametrize(("op", "x_shape", "w_shape"), LAYERS)
def test_moments_predict_the_error_of_a_layer(
    op: Conv | Linear, x_shape: tuple[int, ...], w_shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(3)
    weight, other = rng.standard_normal((2, *w_shape))
    inputs = [rng.standard_normal(x_shape), rng.standard_normal(x_shape) + 1]
    zero = np.zeros(len(weight))
    wanted = [op.evaluate(x, weight, zero + 3) + rng.standard_normal() for x in inputs]
    found = moments(op, inputs, wanted, weight)
    group = getattr(op, "group", 1)
    rows = other.reshape(group, len(weight) // group, -1)
    bias = found.bias(rows).reshape(-1)
    axis = 2 if isinstance(op, Linear) else 1
    error = np.concatenate(
        [
            np.moveaxis(op.evaluate(x, other, bias) - t, axis, 0).reshape(len(weight), -1)
            for x, t in zip(inputs, wanted, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose((error**2).mean(1), found.error(rows).reshape(-1), rtol=1e-9)
    np.testing.assert_allclose(error.mean(1), 0, atol=1e-12)
