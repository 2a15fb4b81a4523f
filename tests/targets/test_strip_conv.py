"""Convolutions over strips with their padding: every geometry, wherever it is not worth its copy too."""

from __future__ import annotations

import pytest
from compiling import NATIVE, Weights, check_program, in_long_runs
from test_kernel_forms import GEOMETRIES, conv

from graphopt import compile
from graphopt.ops import Conv, MaxPool, Relu
from graphopt.targets.kernels import strip_conv

TARGETS = [NATIVE[0], *in_long_runs(*NATIVE[1:], "aarch64", "armv7")]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it does not pay, in strips of few rows."""
    monkeypatch.setattr(strip_conv, "LEAST_GAIN", -1e9)
    monkeypatch.setattr(strip_conv, "STRIP_BYTES", 1 << 10)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_geometries(geometry: str, target: str) -> None:
    """Of operands between layers and of inputs, whole and grouped, of odd numbers of channels."""
    g = Weights()
    x = g.x(2, 6, 7, 9)
    results = [conv(g, Relu()(x), 10, geometry), conv(g, x, 9, geometry, 3)]
    program = check_program(g.graph(*(Relu()(y) for y in results)), target)
    rules = [row["rule"] for row in program.manifest["kernels"] if row["kernel"].startswith("conv")]
    assert all("conv_of_strips" in rule for rule in rules)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", TARGETS)
def test_lines_tails_and_many_channels(target: str) -> None:
    g = Weights()
    line = Conv(pads=(2, 2), dilations=(2,))(g.x(2, 4, 11), g.w(7, 4, 3), g.w(7))
    pooled = MaxPool(kernel=(2, 2), strides=(2, 2))(Relu()(conv(g, Relu()(g.x(1, 33, 8, 8)), 17)))
    wide = conv(g, Relu()(g.x(1, 5, 3, 40)), 33)
    check_program(g.graph(line, pooled, Relu()(wide)), target)


def test_where_it_pays() -> None:
    """A narrow plane with many channels has much border; a wide one with few has not."""
    g = Weights()
    graph = g.graph(conv(g, g.x(1, 64, 7, 7), 64, "dilated"), conv(g, g.x(1, 8, 8, 160), 8))
    rows = [row for row in compile(graph, NATIVE[0]).manifest["kernels"] if row["macs"]]
    assert ["conv_of_strips" in row["rule"] for row in rows] == [True, False]
    assert any("a copy of its input would save" in why for why in rows[1]["others"])


def test_windows_that_read_padding_alone() -> None:
    g = Weights()
    x = g.x(1, 1, 1, 5)
    y = Conv(strides=(2, 2), pads=(1, 2, 2, 2), dilations=(2, 1))(x, g.w(2, 1, 2, 2), g.w(2))
    check_program(g.graph(y), NATIVE[-1])
