"""Results that are clipped to less than int8: by routines too, which saturate to all of it, on every Cortex-M."""

from __future__ import annotations

import numpy as np
import pytest

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import ConvInteger, LinearInteger, Requantize
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.lowering import lower

LIMITS = [(-128, 127), (-100, 127), (-128, 45), (-3, 77)]


def clipped(x: Value, low: int, high: int) -> Value:
    return Requantize(zero_point=low // 2, low=low, high=high)(x, constant(np.int32(1 << 30)), constant(np.int32(39)))


def layers() -> Graph:
    """Of each kind of kernel one for each pair of limits, channels last or not, with a multiple of a word or not."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> tuple[Value, Value]:
        bias = rng.integers(-3000, 3000, shape[0]).astype(np.int32)
        return constant(rng.integers(-127, 128, shape).astype(np.int8)), constant(bias)

    image, row = arg("image", "int8", (1, 3, 7, 6)), arg("row", "int8", (1, 21))
    results = []
    for low, high in LIMITS:
        first = clipped(ConvInteger(pads=(1, 1, 1, 1))(image, *weights(6, 3, 3, 3)), low, high)
        second = clipped(ConvInteger()(first, *weights(5, 6, 1, 1)), low, high)
        third = clipped(ConvInteger(group=5, pads=(1, 1, 1, 1))(second, *weights(5, 1, 3, 3)), low, high)
        results += [clipped(ConvInteger()(third, *weights(4, 5, 3, 3)), low, high)]
        results += [clipped(LinearInteger()(row, *weights(7, 21)), low, high)]
    return Fuse()(Graph((image, row), tuple(results)))


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55"])
def test_limits(target: str) -> None:
    graph = layers()
    calls = lower(graph, get_target(target)).calls
    assert not any("is not scaled" in other for call in calls for other in call.how.others)
    rng = np.random.default_rng(1)
    feed = [rng.integers(-128, 128, x.type.static_shape).astype(np.int8) for x in graph.inputs]
    for got, want in zip(graphopt.compile(graph, target).run(*feed), graph(*feed), strict=True):
        np.testing.assert_array_equal(got, want)


def test_limits_cost_little_on_a_core_with_dsp() -> None:
    """Some three instructions for each result."""
    whole, limited = (graphopt.compile(net, "cortex-m4") for net in (of_limits(-128, 127), of_limits(-100, 90)))
    sample = np.zeros((1, 16, 8, 8), np.int8)
    first, second = (program.measure([sample]).instructions for program in (whole, limited))
    assert first is not None and second is not None
    assert second - first < 3 * 2 * 16 * 8 * 8


def of_limits(low: int, high: int) -> Graph:
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 16, 8, 8))
    y = x
    for group in (1, 16):
        weight = constant(rng.integers(-127, 128, (16, 16 // group, 3, 3)).astype(np.int8))
        product = ConvInteger(group=group, pads=(1, 1, 1, 1))(y, weight, constant(np.zeros(16, np.int32)))
        y = clipped(product, low, high)
    last = constant(rng.integers(-127, 128, (1, 16, 1, 1)).astype(np.int8))
    return Fuse()(Graph((x,), (clipped(ConvInteger()(y, last, constant(np.zeros(1, np.int32))), -128, 127),)))
