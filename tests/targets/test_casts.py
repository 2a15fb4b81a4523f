"""Casts of floats that an integer dtype does not hold: one answer, of the evaluator and of every kind of machine."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE

from graphopt import compile
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Cast, Clip, Quantize, Round
from graphopt.passes import Fuse

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"]
SLOW = [pytest.param(t, marks=pytest.mark.slow) for t in (*NATIVE[:-1], "armv7")]
TARGETS = [*SLOW, "host", "aarch64", "cortex-m0", "cortex-m4"]
LOWEST = {32: -(2**31), 64: -(2**63)}

# from a float to what it is in each dtype: as NumPy, PyTorch and ONNX Runtime have it on x86-64
KNOWN: dict[float, tuple[int, ...]] = {
    -1: (-1, 255, -1, 65535, -1, 2**32 - 1, -1, 2**64 - 1, 1),
    -50.7: (-50, 206, -50, 65486, -50, 2**32 - 50, -50, 2**64 - 50, 1),
    300: (44, 44, 300, 300, 300, 300, 300, 300, 1),
    3e9: (0, 0, 0, 0, LOWEST[32], 3 * 10**9, 3 * 10**9, 3 * 10**9, 1),
    -3e9: (0, 0, 0, 0, LOWEST[32], 2**31, -3 * 10**9, 2**64 - 3 * 10**9, 1),
    5e9: (0, 0, 0, 0, LOWEST[32], 0, 5 * 10**9, 5 * 10**9, 1),
    2.0**63: (0, 0, 0, 0, LOWEST[32], 0, LOWEST[64], 2**63, 1),
    -(2.0**63): (0, 0, 0, 0, LOWEST[32], 2**31, LOWEST[64], 2**63, 1),
    2.0**64: (0, 0, 0, 0, LOWEST[32], 0, LOWEST[64], 0, 1),
    float("nan"): (0, 0, 0, 0, LOWEST[32], 2**31, LOWEST[64], 2**63, 1),
    float("inf"): (0, 0, 0, 0, LOWEST[32], 0, LOWEST[64], 0, 1),
    float("-inf"): (0, 0, 0, 0, LOWEST[32], 2**31, LOWEST[64], 2**63, 1),
    -0.9: (0, 0, 0, 0, 0, 0, 0, 0, 1),
    0.0: (0, 0, 0, 0, 0, 0, 0, 0, 0),
}
VALUES = [*KNOWN, 0.9, 2.0**31, -(2.0**31), 2.0**31 - 128, 2.0**32, 2.0**62, 65535.5, 1e30]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_evaluator_has_the_known_values(dtype: str) -> None:
    x = np.array(list(KNOWN), dtype)
    for i, to in enumerate(DTYPES):
        np.testing.assert_array_equal(Cast(to=to).evaluate(x), np.array([row[i] for row in KNOWN.values()], to))


def test_halves_are_cast_like_wider_floats() -> None:
    x = np.array([np.inf, -np.inf, np.nan, -2.5, 60000], "float16")
    np.testing.assert_array_equal(Cast(to="int32").evaluate(x), [LOWEST[32]] * 3 + [-2, 60000])


def casts(x: Value) -> list[Value]:
    """Every dtype, after clamps that hold its range and that do not, and quantized."""
    steps = Round()(x)
    clamped = [Cast(to="int8")(Clip(low=-128.0, high=127.0)(steps)), Cast(to="int8")(Clip(low=-500.0, high=500.0)(x))]
    scale = constant(np.asarray(0.5, x.type.dtype))
    quantized = [Quantize()(x, scale, constant(np.asarray(3, to))) for to in ("int8", "uint8", "int16", "uint16")]
    return [*(Cast(to=to)(x) for to in DTYPES), *clamped, *quantized]


@pytest.mark.parametrize("target", TARGETS)
def test_every_machine_agrees_to_the_bit(target: str) -> None:
    inputs = {f"x{dtype[-2:]}": np.array([VALUES * 2], dtype) for dtype in ("float32", "float64")}
    args = [arg(name, str(data.dtype), data.shape) for name, data in inputs.items()]
    graph = Fuse()(Graph(tuple(args), tuple(v for x in args for v in casts(x))))
    with np.errstate(invalid="ignore", over="ignore"):
        want = graph(**inputs)
    got = compile(graph, target).measure(inputs, count=False).outputs[0]
    for reference, data in zip(want, got, strict=True):
        np.testing.assert_array_equal(data, reference)


def test_a_range_that_is_known_costs_no_comparison() -> None:
    """A quantized input: the C of the cast has the two clamps, and nothing beside them."""
    x = arg("x", "float32", (1, 8))
    graph = Graph((x,), (Quantize()(x, constant(np.float32(0.5)), constant(np.int8(3))),))
    text = compile(Fuse()(graph), "cortex-m4", name="net", io="float32").files["net.c"].decode()
    assert "fabsf" not in text
    assert "min_float32(127.0f, " in text
