"""Quantisation: halves to even, saturation, and the same by its parts, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Graph, Op, arg, evaluate
from graphopt.ops import Dequantize, Quantize

X = np.array([[-1e9, -127.5, -0.75, -0.5, 0.25], [0.5, 0.75, 1.25, 65534.5, 1e9]], np.float32)


def both(op: Op, *arrays: Array) -> Array:
    """What an operator gives, which its parts give as well."""
    values = [arg(f"x{i}", str(a.dtype), a.shape) for i, a in enumerate(arrays)]
    parts = op.decompose(*values)
    assert parts is not None
    whole, apart = (evaluate(Graph(tuple(values), v), arrays)[0] for v in ((op(*values),), parts))
    np.testing.assert_array_equal(whole, apart)
    return whole


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_halves_and_saturation(dtype: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    got = both(Quantize(), X, np.float32(0.5), np.array(3, dtype))
    want = np.clip(np.rint(X.astype(np.float64) * 2) + 3, low, high).astype(dtype)
    np.testing.assert_array_equal(got, want)
    assert got[0, 0] == low and got[1, 4] == high
    # -1.5, 0.5 and 2.5 go to the even side
    assert got[0, 2] == max(low, -2 + 3) and got[0, 4] == 0 + 3 and got[1, 2] == 2 + 3


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_each_float_and_axis(kind: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-90, 90, (2, 3, 4)).astype(kind)
    scale, zero = np.array([0.5, 0.7, 0.9], kind), np.array([-5, 0, 7], np.int8)
    q = both(Quantize(axis=1), x, scale, zero)
    y = both(Dequantize(axis=1), q, scale, zero)
    column = scale.astype(np.float64)[:, None]
    assert y.dtype == kind
    inside = (q > -128) & (q < 127)
    # float16 rounds numbers below 128 to a sixteenth
    assert (np.abs(y.astype(np.float64) - x) <= 0.5 * column + 1 / 16)[inside].all()


def test_blocks_and_wide_integers() -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    scale = np.repeat(np.array([[1, 2], [0.5, 4]], np.float32), 2, axis=1)
    q = both(Quantize(), x, scale, np.zeros((2, 4), np.int8))
    np.testing.assert_array_equal(q, np.rint(x / scale))
    sums = np.array([2**24, -(2**30)], np.int32)
    y = both(Dequantize(axis=0), sums, np.array([0.5, 0.25], np.float32), np.zeros(2, np.int32))
    np.testing.assert_array_equal(y, sums * [0.5, 0.25])


def test_what_does_not_fit() -> None:
    x, s, z = (arg(n, d, h) for n, d, h in (("x", "float32", (2, 3)), ("s", "float32", (2,)), ("z", "int8", (2,))))
    with pytest.raises(InvalidGraph, match="quantize of"):
        Quantize(axis=1)(x, s, z)
    with pytest.raises(InvalidGraph, match="dequantize of"):
        Dequantize(axis=0)(x, s, z)
    assert Quantize(axis=0)(x, s, z).type.dtype == "int8"
