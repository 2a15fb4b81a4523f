"""Packed signs, and products of them: what they are of, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Graph, Op, arg, evaluate
from graphopt.ops import Binarize, Conv, ConvXnor, Linear, PackSigns, pack_signs
from graphopt.ops.binary import unpack_signs


def both(op: Op, *arrays: Array) -> Array:
    """What an operator gives, which its parts give as well."""
    values = [arg(f"x{i}", str(a.dtype), a.shape) for i, a in enumerate(arrays)]
    parts = op.decompose(*values)
    assert parts is not None
    whole, apart = (evaluate(Graph(tuple(values), v), arrays)[0] for v in ((op(*values),), parts))
    np.testing.assert_array_equal(whole, apart)
    assert whole.dtype == apart.dtype
    return whole


def signs(seed: int, *shape: int) -> Array:
    return np.where(np.random.default_rng(seed).random(shape) < 0.5, -1, 1).astype(np.int8)


def test_zero_is_positive() -> None:
    x = np.array([[-1.0, -1e-38, -0.0, 0.0, 1e-38, np.inf]], np.float32)
    np.testing.assert_array_equal(both(Binarize(), x, np.float32(0.25)), [[-0.25, -0.25, 0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_array_equal(both(PackSigns(), x), [[0b000011]])


def test_a_threshold_is_a_zero_point() -> None:
    q = np.array([[-128, -4, -3, 127]], np.int8)
    np.testing.assert_array_equal(both(PackSigns(threshold=-3), q), [[0b0011]])
    np.testing.assert_array_equal(both(PackSigns(threshold=-128), q), [[0]])
    with pytest.raises(InvalidGraph, match="threshold 128"):
        PackSigns(threshold=128)(arg("q", "int8", (1, 4)))


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 64, 70])
def test_packing_is_undone(channels: int) -> None:
    """Words of 32 channels, the first in the lowest bit, and no bit set beyond the last."""
    x = signs(channels, 2, channels, 3)
    packed = both(PackSigns(), x)
    assert packed.shape == (2, -(-channels // 32), 3)
    for c in range(packed.shape[1] * 32):
        want = x[:, c] < 0 if c < channels else np.zeros((2, 3))
        np.testing.assert_array_equal(packed[:, c // 32] >> np.uint32(c % 32) & 1, want)
    np.testing.assert_array_equal(unpack_signs(packed, channels), x)


@pytest.mark.parametrize("channels", [3, 32, 45])
def test_a_product_of_words_is_that_of_signs(channels: int) -> None:
    x, w, b = signs(0, 2, channels, 5, 4), signs(1, 3, channels, 3, 2), np.array([-7, 0, 1000], np.int32)
    geometry = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2)}
    op = ConvXnor(channels=channels, unit=6, **geometry)  # type: ignore[arg-type]
    got = both(op, pack_signs(x < 0), pack_signs(w < 0), b)
    want = Conv(**geometry).evaluate(*(a.astype(np.float64) for a in (x, w * 6, b)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(got, want)
    assert got.dtype == np.int32
    rows, matrix = x[:, :, 0, 0], w[:, :, 0, 0]
    got = both(ConvXnor(channels=channels), pack_signs(rows < 0), pack_signs(matrix < 0), b)
    np.testing.assert_array_equal(got, Linear().evaluate(*(a.astype(np.float64) for a in (rows, matrix, b))))


def test_words_must_fit_the_channels() -> None:
    x, w, b = arg("x", "uint32", (1, 2, 4)), arg("w", "uint32", (3, 2, 1)), arg("b", "int32", (3,))
    assert ConvXnor(channels=33)(x, w, b).type.shape == (1, 3, 4)
    with pytest.raises(InvalidGraph, match="65 channels are 3 words"):
        ConvXnor(channels=65)(x, w, b)
    with pytest.raises(InvalidGraph, match="bias"):
        ConvXnor(channels=33)(x, w, arg("b", "int32", (2,)))
