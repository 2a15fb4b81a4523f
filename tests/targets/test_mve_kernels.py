"""Kernels for Helium: the same integers as the operators have, over drawn shapes; and what they cost."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from compiling import joined
from mlperf import calibration, data, graphs, quantized
from tagged import run_tagged

import graphopt
from graphopt.ir import Graph, Op, Value, arg, constant
from graphopt.ops import ConvInteger, LinearInteger, MaxPool, Requantize, Reshape, SumPool, WeightedSum
from graphopt.passes import Fuse, Quantize, RemoveDeadChannels
from graphopt.passes.contract import random_inputs
from graphopt.targets import get_target

TARGET = "cortex-m55"


class Layers:
    """Layers of int8 whose results spread over int8, drawn."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.seed = seed

    def draw(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def weights(self, *shape: int) -> Value:
        low = self.draw(-128, -1)
        return constant(self.rng.integers(low, 128, shape).astype(np.int8))

    def narrowed(self, acc: Value, per_channel: bool, spread: float, clipped: bool | None = None) -> Value:
        """Requantized, so that sums of this standard deviation fill int8; one channel in some is dead."""
        shape = (acc.type.static_shape[1], *(1,) * (acc.type.rank - 2)) if per_channel else ()
        multiplier = self.rng.integers(1 << 30, 1 << 31, shape)
        shift = 31 + max(2, int(np.log2(max(1.0, spread) / 32))) + self.rng.integers(0, 2, shape)
        if per_channel and self.draw(0, 3) == 0:
            shift[0] = 60
        low = -100 if (self.draw(0, 7) == 0 if clipped is None else clipped) else -128
        new = Requantize(zero_point=self.draw(-20, 20), low=low)
        return new(acc, constant(multiplier.astype(np.int32)), constant(np.asarray(shift, np.int32)))

    def conv(self, x: Value, out: int, depthwise: bool, plain: bool = False) -> Value:
        _, c, *size = x.type.static_shape
        group, inner, out = (c, 1, c) if depthwise else (1, c, out)
        kernel = tuple(1 if plain else self.draw(1, min(4, s + 1)) for s in size)
        dilations = tuple(self.draw(1, 2) if k > 1 and s > 4 else 1 for k, s in zip(kernel, size, strict=True))
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        low = [self.draw(0, e - 1) for e in extent]
        high = [max(self.draw(0, e - 1), e - s - p) for e, s, p in zip(extent, size, low, strict=True)]
        strides = tuple(1 if plain else self.draw(1, 3 if s > 3 else 1) for s in size)
        zero_point = self.draw(-128, 127)
        op: Op = ConvInteger(
            strides=strides, pads=(*low, *high), dilations=dilations, group=group, zero_point=zero_point
        )
        bias = constant(self.rng.integers(-9000, 9000, out).astype(np.int32))
        acc = op(x, self.weights(out, inner, *kernel), bias)
        return self.narrowed(acc, self.draw(0, 3) > 0, 74 * 74 * np.sqrt(inner * np.prod(kernel)))

    def pooled(self, x: Value) -> Value:
        size = x.type.static_shape[2:]
        if self.draw(0, 3) == 0:
            return self.narrowed(SumPool(kernel=size, zero_point=self.draw(-9, 9))(x), False, 99.0)
        kernel = tuple(self.draw(1, min(3, s)) for s in size)
        dilations = tuple(self.draw(1, 2) if 2 * k <= s else 1 for k, s in zip(kernel, size, strict=True))
        pads = tuple(self.draw(0, (k - 1) * d) for _ in range(2) for k, d in zip(kernel, dilations, strict=True))
        window = {"kernel": kernel, "strides": (self.draw(1, 2),) * len(size), "pads": pads, "dilations": dilations}
        if self.draw(0, 1):
            return MaxPool(**window)(x)
        return self.narrowed(SumPool(zero_point=self.draw(-9, 9), **window)(x), False, 74.0 * np.prod(kernel) ** 0.5)

    def added(self, x: Value, y: Value) -> Value:
        """A shortcut around what gave ``y``, one layer or two."""
        factors = self.draw(1 << 16, 1 << 21), self.draw(1 << 16, 1 << 21)
        operands = (x, y) if self.draw(0, 1) else (y, x)
        total = WeightedSum(factors=factors, offset=self.draw(-(1 << 26), 1 << 26))(*operands)
        narrow = Requantize(zero_point=self.draw(-9, 9))
        return narrow(total, constant(np.int32(1 << 30)), constant(np.int32(50)))

    def channels(self) -> int:
        return self.draw(1, 20) if self.draw(0, 1) else self.draw(1, 70)

    def net(self, layers: int = 4) -> Graph:
        """A chain of layers over one or two axes, the last one over what is left of them as a row."""
        size = [self.draw(1, 11) for _ in range(self.draw(1, 2))]
        batch = self.draw(1, 2)
        x = arg(f"x{self.seed}", "int8", (batch, self.channels(), *size))
        y = x
        for _ in range(layers):
            what = self.draw(0, 5)
            before = y
            if what == 0:
                y = self.pooled(y)
            elif what == 1:
                inner = self.conv(before, self.channels(), False, plain=True) if self.draw(0, 2) else before
                y = self.added(before, self.conv(inner, before.type.static_shape[1], False, plain=True))
            else:
                y = self.conv(y, self.channels(), depthwise=what > 3)
        flat = Reshape(shape=(batch, int(np.prod(y.type.static_shape[1:]))))(y)
        out = self.channels()
        weight = self.weights(out, flat.type.static_shape[1])
        acc = LinearInteger(zero_point=3)(flat, weight, constant(np.arange(out, dtype=np.int32)))
        last = self.narrowed(acc, self.draw(0, 1) > 0, 74 * 74 * np.sqrt(flat.type.static_shape[1]))
        return Graph((x,), (y, last))


def sums() -> Graph:
    """Products of one row and of several that stay sums."""
    rng = np.random.default_rng(0)
    weight = constant(rng.integers(-127, 128, (7, 21)).astype(np.int8))
    rows = [arg(f"rows{count}", "int8", (count, 21)) for count in (1, 5)]
    bias = constant(np.arange(7, dtype=np.int32))
    return Graph(tuple(rows), tuple(LinearInteger(zero_point=3)(x, weight, bias) for x in rows))


def check(graph: Graph) -> graphopt.Program:
    """All of the outputs that the operators have."""
    fused = Fuse()(graph)
    program = graphopt.compile(fused, TARGET)
    inputs = random_inputs(fused, seed=1)
    (got,) = program.measure(inputs, count=False).outputs
    outputs = graph(**inputs)
    for name, want, found in zip(fused.output_names, outputs, got, strict=True):
        assert np.array_equal(want, found), name
    assert np.mean([want.size < 30 or len(np.unique(want)) > 5 for want in outputs]) > 0.8, "few that are all alike"
    return program


ROUTINES = {
    *(f"{kind}_{windows}" for kind in ("multiply", "sum") for windows in ("window", "windows")),
    *("copy_columns", "add_scaled", "sum_window_scaled", "largest_of_window"),
}


@pytest.mark.usefixtures("usual_kernels")
def test_drawn_layers() -> None:
    program = check(joined([*(Layers(seed).net() for seed in (1, 2, 3, 4, 13, 14)), sums()]))
    text = program.files[f"{program.manifest['name']}.c"].decode()
    assert set(re.findall(r"\w+(?=\()", text)) >= ROUTINES


def test_poolings_of_planes() -> None:
    """A window of all of a plane, with padding and without."""
    layers, graphs_ = Layers(0), []
    for i, pads in enumerate([(), (1, 0, 0, 0), (0, 1, 1, 1)]):
        x = arg(f"x{i}", "int8", (1, 5, 2, 3))
        y = layers.conv(x, 6, False, plain=True)
        pool = layers.narrowed(SumPool(kernel=(2, 3), strides=(2, 3), pads=pads, zero_point=7)(y), False, 150.0)
        most = MaxPool(kernel=(2, 3), pads=pads)(y)
        graphs_.append(Graph((x,), tuple(layers.conv(v, 40, False, plain=True) for v in (pool, most))))
    check(joined(graphs_))


@pytest.mark.parametrize("clipped", [False, True])
def test_a_shortcut(clipped: bool) -> None:
    """It is added in vectors behind a requantisation to all of int8 alone."""
    layers = Layers(0)
    x = arg("x", "int8", (1, 8, 5, 7))
    first = layers.conv(x, 10, False, plain=True)
    second = layers.conv(first, 6, False, plain=True)
    acc = ConvInteger()(second, layers.weights(10, 6, 1, 1), constant(np.arange(10, dtype=np.int32)))
    y = layers.added(first, layers.narrowed(acc, True, 74 * 74 * 6**0.5, clipped))
    program = check(Graph((x,), (layers.conv(y, 3, False),)))
    text = program.files[f"{program.manifest['name']}.c"].decode()
    assert ("add_scaled" in text) is not clipped


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 500, 20))
def test_many_drawn_layers(first: int) -> None:
    check(joined(Layers(seed).net(5) for seed in range(first, first + 20)))


@pytest.mark.parametrize("seed", [1, 5])
def test_results_over_operands(seed: int, tmp_path: Path) -> None:
    """Byte by byte: nothing is read that was overwritten."""
    assert run_tagged(Fuse()(Layers(seed).net(5)), get_target(TARGET), tmp_path) == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 60))
def test_many_results_over_operands(seed: int, tmp_path: Path) -> None:
    assert run_tagged(Fuse()(Layers(seed).net(5)), get_target(TARGET), tmp_path) == ""


def net(shared: Path, name: str) -> Graph:
    """An int8 net, fused; of the visual wake words, without its dead channels."""
    if name == "sww":
        graph = graphopt.load(shared / "models" / "mlperf_tiny" / "sww_dscnn.onnx")
        return Fuse()(Quantize(calibration=data(shared, "sww_windows.npz")["x"])(graph))
    if name == "vww":
        graph = RemoveDeadChannels()(graphs(shared, name)[0])
        return Fuse()(Quantize(calibration=calibration(shared, name))(graph))
    return quantized(shared, name)


HELD = {
    "kws": (826_700, 3_000, 10_900),
    "resnet8": (2_094_000, 5_150, 22_250),
    "vww": (1_811_400, 8_350, 39_250),
    "ad": (49_420, 700, 260),
    "sww": (188_050, 4_650, 4_120),
}
"""Of one run: instructions, not more, and not 1 % less; at most so many bytes of code and of the arena."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "vww")) for n in HELD])
def test_what_nets_take(name: str, shared: Path) -> None:
    program = graphopt.compile(net(shared, name), TARGET)
    sample = np.zeros(program.manifest["inputs"][0]["shape"], np.int8)
    instructions, code, arena = HELD[name]
    run = program.measure([sample])
    assert run.instructions is not None
    assert 0.99 * instructions <= run.instructions <= instructions
    assert program.sizes.code <= code
    assert program.sizes.workspace <= arena
