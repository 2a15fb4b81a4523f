"""Winograd's convolution of 8 bits: the integers of the evaluator, for every size, pad and number of channels."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE, check_program, in_long_runs
from test_x86_int8 import Integers

from graphopt import compile
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import ConvInteger, MaxPool, WeightedSum
from graphopt.passes import Fuse
from graphopt.targets.kernels import winograd, word_winograd

TARGETS = [name for name in ("x86-64-v3", "x86-64-v4", "x86-64-v2") if name in NATIVE]
FORMS = [*TARGETS[:1], *in_long_runs(*TARGETS[1:])]
PADS = {"one": (1, 1, 1, 1), "none": (0, 0, 0, 0), "beyond the window": (4, 0, 3, 5), "one side": (0, 2, 1, 0)}
pytestmark = pytest.mark.skipif(not TARGETS, reason="no AVX2 here")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it does not pay, in strips of few tiles."""
    monkeypatch.setattr(word_winograd, "LEAST_GAIN", -1e9)
    monkeypatch.setattr(winograd, "ROOM", 1)
    monkeypatch.setattr(winograd, "LEAST_TILES", 8)


def check(graph: Graph, target: str) -> None:
    """By Winograd, in all kernels that it is for; and exactly."""
    rows = check_program(graph, target).manifest["kernels"]
    assert all("word_winograd" in row["rule"] for row in rows if row["kernel"].startswith(("winograd", "conv_3x3")))
    assert any("word_winograd" in row["rule"] for row in rows)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("pads", ["one", *in_long_runs(*list(PADS)[1:])])
def test_sizes_pads_and_channels(pads: str, target: str) -> None:
    """Even and odd sizes, whole vectors of channels and what is left over, from inputs and from between layers."""
    for dtype, zero_point in (("int8", -128), ("uint8", 255)):
        layers = Integers(2, 3, 7, 9, dtype=dtype)
        first = layers.conv(layers.x, 21, (3, 3), zero_point, pads=PADS[pads])
        check(layers.graph(layers.conv(first, 34, (3, 3), pads=PADS[pads]), layers.conv(first, 1, (3, 3))), target)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", FORMS)
def test_weights_that_are_prefetched(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_winograd, "SECOND_CACHE", 0)
    layers = Integers(1, 37, 11, 13)
    first = layers.conv(layers.x, 53, (3, 3), -128, pads=PADS["one"])
    check(layers.graph(layers.conv(first, 34, (3, 3), pads=PADS["one"])), target)


WINDOWS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((3, 3), (1, 2)), ((1, 3), (2, 3)), ((3, 1), (1, 4))]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", FORMS)
def test_one_axis_and_dilations(target: str) -> None:
    """Windows of three taps along one of two axes, and along the only one; tiles of dilated ones interleave."""
    layers = Integers(1, 5, 8, 11)
    ends = [layers.conv(layers.x, 7, kernel, pads=(1, 2, 0, 3), dilations=dilations) for kernel, dilations in WINDOWS]
    rows = Integers(2, 19, 37)
    x = rows.conv(rows.x, 21, (3,), pads=(2, 2))
    rows_ends = [rows.conv(x, 6, (3,), pads=(d, 0), dilations=(d,)) for d in (1, 5, 16)]
    for graph in (layers.graph(*ends), rows.graph(*rows_ends)):
        rules = [row["rule"] for row in check_program(graph, target).manifest["kernels"]]
        assert all("word_winograd" in rule for rule in rules), rules


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(16))
def test_drawn_layers(seed: int, target: str) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.integers(1, 23, 2)]
    layers = Integers(
        int(rng.integers(1, 3)), int(rng.integers(1, 71)), *sizes, dtype=str(rng.choice(["int8", "uint8"]))
    )
    pads = tuple(int(pad) for pad in rng.integers(2, 5, 4))
    kernel, dilations = [*WINDOWS, ((3, 3), (1, 1))][seed % 4]
    ends = []
    for out in rng.integers(1, 71, 2):
        zero_point = int(rng.integers(-128, 128) if layers.x.type.dtype == "int8" else rng.integers(256))
        first = layers.conv(layers.x, int(out), kernel, zero_point, pads=pads, dilations=dilations)
        channels, zero_point = int(rng.integers(1, 71)), int(rng.integers(-128, 128))
        ends.append(layers.conv(first, channels, kernel, zero_point, pads=pads, dilations=dilations))
    check(layers.graph(*ends), target)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", FORMS)
def test_what_is_fused_behind(target: str) -> None:
    """A residual, a pooling, sums as they are."""
    layers = Integers(1, 9, 8, 8)
    x = layers.conv(layers.x, 21)
    y = layers.conv(x, 21, (3, 3), pads=(1, 1, 1, 1))
    added = layers.scaled(WeightedSum(factors=(1 << 20, -(1 << 19)), offset=1 << 18)(y, x), (), low=-3)
    pooled = MaxPool(kernel=(2, 2), strides=(2, 2))(layers.conv(added, 5, (3, 3), pads=(1, 1, 1, 1)))
    weight = constant(layers.rng.integers(-128, 128, (3, 21, 3, 3)).astype(np.int8))
    check(
        layers.graph(pooled, ConvInteger(zero_point=-128)(added, weight, constant(np.arange(3, dtype=np.int32)))),
        target,
    )


def extreme(channels: int, out: int = 4) -> Graph:
    """The largest weights, all of one sign but one, so that the largest sums are met."""
    weight = np.full((out, channels, 3, 3), -128, np.int8)
    weight[-1, :, 1] = 127
    x = arg("x", "int8", (1, channels, 6, 6))
    y: Value = ConvInteger(zero_point=127, pads=(1, 1, 1, 1))(x, constant(weight), constant(np.zeros(out, np.int32)))
    return Fuse()(Graph((x,), (y,)))


@pytest.mark.usefixtures("always")
def test_the_largest_sums() -> None:
    """As many channels as are proved to fit 32 bits, and one more, which goes another way."""
    weight = np.full((1, 1, 3, 3), -128)
    axes = (winograd.OF_THREE_TAPS, winograd.OF_THREE_TAPS)
    one = word_winograd.largest_sums(word_winograd.transformed_weights(weight, axes), "int8", axes)
    most = ((1 << 31) - 1) // int(one.max())
    for channels, kernel in ((most, "winograd_3x3"), (most + 1, "conv_3x3")):
        graph = extreme(channels)
        program = compile(graph, TARGETS[0])
        for value in (-128, 127):
            x = np.full((1, channels, 6, 6), value, np.int8)
            x[:, :, ::2, 1::2] = -1 - value
            assert (program.run(x) == graph(x=x)[0]).all()
        (row,) = program.manifest["kernels"]
        assert row["kernel"] == kernel
    assert any("channel 0 may need more than 32 bits" in why for why in row["others"])


def test_where_it_pays() -> None:
    """For many channels, not for few of them, nor for other windows; it says how much the weights grow."""
    layers = Integers(1, 2, 16, 16)
    wide = layers.conv(layers.x, 64)
    ends = [layers.conv(wide, 64, (3, 3), pads=(1, 1, 1, 1)), layers.conv(layers.x, 2, (3, 3), pads=(1, 1, 1, 1))]
    ends.append(layers.conv(wide, 64, (3, 3), strides=(2, 2)))
    rows = compile(layers.graph(*ends), TARGETS[0]).manifest["kernels"]
    found = {row["node"]: row for row in rows if row["macs"] and "by_pairs" not in row["rule"]}
    (row,) = found.values()
    assert "weights grow from 36,864 to 131,072 bytes" in row["others"]
    assert sum("it would save 0%" in " ".join(row["others"]) for row in rows) == 1
