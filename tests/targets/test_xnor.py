"""Programs of packed signs are the evaluator to the bit, on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import KINDS_OF_CODE, check_program

from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import ConvXnor, PackSigns, Quantize, Requantize, pack_signs
from graphopt.passes import Fuse

RNG = np.random.default_rng(0)


def xnor(x: Value, channels: int, out: int, *kernel: int, **geometry: tuple[int, ...]) -> Value:
    weight = constant(pack_signs(RNG.random((out, channels, *kernel)) < 0.5))
    bias = constant(RNG.integers(-99, 99, out).astype(np.int32))
    return ConvXnor(channels=channels, unit=3, **geometry)(x, weight, bias)  # type: ignore[arg-type]


def narrowed(acc: Value) -> Value:
    """Sums as int8, of which some saturate."""
    parts: list[Array] = [np.asarray(v, np.int32) for v in (1 << 30, 31)]
    return Requantize(zero_point=-5)(acc, *(constant(p) for p in parts))


def chain() -> Graph:
    """From floats and int8, over padded planes and rows of many words or one channel, to sums that are packed again."""
    x, row = arg("x", "float32", (2, 70, 5, 6)), arg("row", "float32", (2, 33, 9))
    first = narrowed(xnor(PackSigns()(x), 70, 45, 3, 3, pads=(1, 0, 1, 2), strides=(2, 1), dilations=(1, 2)))
    second = xnor(PackSigns(threshold=-5)(first), 45, 32, 1, 1)
    along = xnor(PackSigns()(row), 33, 5, 3, pads=(2, 1))
    flat = arg("flat", "float32", (3, 64))
    q = Quantize()(flat, constant(np.float32(0.01)), constant(np.int8(7)))
    packed = PackSigns(threshold=7)(q)
    lone = arg("lone", "float32", (2, 1, 4))
    single = xnor(PackSigns()(lone), 1, 1, 1)
    return Graph((x, row, flat, lone), (second, along, packed, xnor(packed, 64, 7), single))


@pytest.mark.parametrize("target", KINDS_OF_CODE)
def test_programs_are_the_evaluator(target: str) -> None:
    graph = chain()
    check_program(Fuse()(graph), target, reference=graph)
