"""Winograd's convolution: every size, pad and number of channels; its error is no larger than the direct form's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiling import NATIVE, Weights, check_program, in_long_runs

from graphopt import compile
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import Conv, MaxPool, Relu, Window
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.kernels import winograd
from graphopt.targets.kernels.geometry import Plane

TARGETS = [NATIVE[0], *in_long_runs(*NATIVE[1:], "aarch64", "armv7")]
PADS = {"one": (1, 1, 1, 1), "none": (0, 0, 0, 0), "beyond the window": (4, 0, 3, 5), "one side": (0, 2, 1, 0)}

PREFETCHED = ((3, (2, 3)), (37, (11, 13)), (16, (40, 56)))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it does not pay, in strips of few tiles."""
    monkeypatch.setattr(winograd, "LEAST_GAIN", -1e9)
    monkeypatch.setattr(winograd, "ROOM", 1)
    monkeypatch.setattr(winograd, "LEAST_TILES", 8)


def conv(g: Weights, x: Value, out: int, pads: tuple[int, ...]) -> Value:
    return Conv(pads=pads)(x, g.w(out, x.type.static_shape[1], 3, 3), g.w(out))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("pads", PADS)
def test_sizes_pads_and_channels(pads: str, target: str) -> None:
    """Even and odd sizes, whole vectors of channels and what is left over, from inputs and from between layers."""
    g = Weights()
    results = [conv(g, g.x(2, 3, 7, 9), 5, PADS[pads]), conv(g, Relu()(g.x(1, 19, 4, 10)), 33, PADS[pads])]
    program = check_program(g.graph(*(Relu()(y) for y in results)), target)
    assert [row["kernel"] for row in program.manifest["kernels"]].count("winograd_3x3") >= 1
    assert all("winograd" in row["rule"] for row in program.manifest["kernels"] if row["macs"])


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", TARGETS)
def test_a_pooling_behind_it(target: str) -> None:
    g = Weights()
    pooled = MaxPool(kernel=(2, 2), strides=(2, 2))(Relu()(conv(g, Relu()(g.x(2, 6, 6, 8)), 17, PADS["one"])))
    check_program(g.graph(pooled), target)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", TARGETS)
def test_weights_that_are_prefetched(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of blocks of many channels and of few, by one tile and by more of them than a block has lines."""
    monkeypatch.setattr(winograd, "SECOND_CACHE", 0)
    g = Weights()
    results = [conv(g, Relu()(g.x(1, channels, *size)), 53, PADS["one"]) for channels, size in PREFETCHED]
    rows = check_program(g.graph(*results), target).manifest["kernels"]
    assert all("winograd" in row["rule"] for row in rows if row["macs"])


def layer(channels: int, size: int) -> tuple[Graph, Array, Array]:
    """A convolution, an input, and its result in float64."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, channels, size, size)).astype(np.float32)
    weight = (rng.standard_normal((channels, channels, 3, 3)) / (3 * channels**0.5)).astype(np.float32)
    bias = rng.standard_normal(channels).astype(np.float32)
    y = Conv(pads=(1, 1, 1, 1))(arg("x", "float32", x.shape), constant(weight), constant(bias))
    tensors = [torch.from_numpy(a).double() for a in (x, weight, bias)]
    return Fuse()(Graph((y.node.inputs[0],), (y,))), x, torch.conv2d(*tensors, padding=1).numpy()


def test_its_error_is_no_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Than that of the direct form, whose sums are longer. It says how much the weights grow."""
    graph, x, exact = layer(64, 12)
    errors = {}
    for kernel, gain in (("winograd_3x3", -1e9), ("conv_3x3", 1.0)):
        monkeypatch.setattr(winograd, "LEAST_GAIN", gain)
        program = compile(graph, NATIVE[0])
        (row,) = program.manifest["kernels"]
        assert row["kernel"] == kernel
        errors[kernel] = np.abs(program.run(x) - exact).max()
        grow = "weights grow from 147,456 to 262,144 bytes"
        assert (grow in row["others"]) == (kernel == "winograd_3x3")
    assert errors["winograd_3x3"] <= errors["conv_3x3"]


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize(("channels", "size", "measured"), [(128, 28, 0.53), (256, 14, 0.54), (512, 7, 0.41)])
def test_what_layers_of_large_nets_save(channels: int, size: int, measured: float, target: str) -> None:
    """Layers of ResNet18, of whose weights no second cache holds all."""
    plane = Plane((size, size), (size, size), Window.of((3, 3), (), (1, 1, 1, 1)))
    saved = winograd.Winograd(plane, channels, channels, get_target(target)).saved(side_by_side=True)
    assert saved == pytest.approx(measured, abs=0.06)


def test_where_it_pays() -> None:
    """For many channels, not for few of them, nor for other windows."""
    g = Weights()
    wide, thin = Relu()(g.x(1, 64, 16, 16)), Relu()(g.x(1, 2, 16, 16))
    strided = Conv(pads=(1, 1, 1, 1), strides=(2, 2))(wide, g.w(64, 64, 3, 3), g.w(64))
    graph = g.graph(conv(g, wide, 64, PADS["one"]), conv(g, thin, 2, PADS["one"]), strided)
    rows = [row for row in compile(graph, NATIVE[0]).manifest["kernels"] if row["macs"]]
    assert ["winograd" in row["rule"] for row in rows] == [True, False, False]
    assert any("it would save 0%" in why for why in rows[1]["others"])
