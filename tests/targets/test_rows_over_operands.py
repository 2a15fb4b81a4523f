"""Results never lie over pixels of an operand that are still to be read: odd rows, and weights unpacked in parts."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import Weights, check_program, in_long_runs

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, Clip, Conv, ConvInteger, LinearInteger, Relu, Requantize
from graphopt.passes import Fuse, Quantize

CORES = ["cortex-m3", "cortex-m55", *in_long_runs("cortex-m0", "cortex-m4")]
WIDTHS = (1, 3, 5, 7)


def sums(width: int, few_bits: bool) -> Graph:
    """Sums of 32 bits, of more channels than the operand in the arena has; they are requantized by themselves."""
    rng = np.random.default_rng(width)

    def conv(channels: int, depth: int) -> tuple[Value, Value]:
        weight = rng.integers(-128, 128, (channels, depth, 1, 1)).astype(np.int8)
        bits = constant(np.where(weight < 0, -1, 1).astype(np.int8), compact=True)
        return bits if few_bits else constant(weight), constant(rng.integers(-99, 99, channels).astype(np.int32))

    x = arg("x", "int8", (1, 4, 1, width))
    wide = ConvInteger(zero_point=-127)(Clip(low=-100, high=100)(x), *conv(64, 4))
    scaled = Requantize(zero_point=-2)(wide, constant(np.int32(1 << 30)), constant(np.int32(32)))
    return Graph((x,), (ConvInteger(group=64, strides=(1, 3))(scaled, *conv(64, 1)),))


@pytest.mark.parametrize("target", CORES)
@pytest.mark.parametrize("few_bits", [False, True])
def test_sums(target: str, few_bits: bool) -> None:
    for width in WIDTHS:
        graph = sums(width, few_bits)
        data = np.random.default_rng(0).integers(-128, 128, (1, 4, 1, width)).astype(np.int8)
        ((got,),) = graphopt.compile(graph, target).measure_batches([[data]]).outputs
        np.testing.assert_array_equal(got, graph(data)[0], err_msg=str(width))


@pytest.mark.parametrize("target", CORES)
def test_additions(target: str) -> None:
    """Of an operand with fewer channels, row by row."""
    for width in WIDTHS:
        g = Weights(width)
        x = Relu()(g.x(1, 4, 3, width))
        narrow = Conv()(Relu()(Conv()(x, g.w(40, 4, 1, 1), g.w(40))), g.w(4, 40, 1, 1), g.w(4))
        wide = Conv()(Add()(narrow, x), g.w(72, 4, 1, 1), g.w(72))
        graph = g.graph(Relu()(Add()(Conv()(x, g.w(72, 4, 1, 1), g.w(72)), wide)))
        samples = [{"x0": np.random.default_rng(i).standard_normal((1, 4, 3, width)).astype("float32")} for i in (0, 1)]
        check_program(Quantize(calibration=samples)(graph), target)


@pytest.mark.parametrize("target", CORES)
def test_weights_unpacked_in_parts(target: str) -> None:
    """Each group of channels of a part reads the row again, when those before it were written."""
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 9))
    bits = constant(rng.choice([-1, 1], (64, 9)).astype(np.int8), compact=True)
    sums = LinearInteger(zero_point=-126)(Clip(low=-100, high=100)(x), bits, constant(np.zeros(64, np.int32)))
    scaled = Requantize(zero_point=-15)(sums, constant(np.int32(1 << 30)), constant(np.int32(33)))
    bias = constant(np.zeros(3, np.int32))
    last = LinearInteger()(scaled, constant(rng.integers(-9, 9, (3, 64)).astype(np.int8)), bias)
    graph = Fuse()(Graph((x,), (last,)))
    data = rng.integers(-128, 128, (1, 9)).astype(np.int8)
    for optimize in ("speed", "balanced"):
        ((got,),) = graphopt.compile(graph, target, optimize=optimize).measure_batches([[data]]).outputs
        np.testing.assert_array_equal(got, graph(data)[0], err_msg=optimize)
