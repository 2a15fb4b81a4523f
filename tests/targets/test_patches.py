"""Convolutions over patches that are read as rows of channels: a matrix product, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from compiling import NATIVE, Weights, check_program, in_long_runs

from graphopt.ir import Value
from graphopt.ops import Conv, Relu, Reshape, Transpose


def tokens(y: Value) -> Value:
    n, c, *size = y.type.static_shape
    return Transpose(perm=(0, 2, 1))(Reshape(shape=(n, c, size[0] * size[1]))(y))


@pytest.mark.parametrize("target", [NATIVE[-1], *in_long_runs(NATIVE[0], "aarch64", "armv7")])
def test_patches(target: str) -> None:
    g = Weights()
    square = Conv(strides=(4, 4))(g.x(2, 3, 12, 8), g.w(19, 3, 4, 4), g.w(19))
    oblong = Conv(strides=(2, 5))(Relu()(g.x(1, 4, 6, 10)), g.w(8, 4, 2, 5), g.w(8))
    program = check_program(g.graph(tokens(square), Relu()(tokens(oblong))), target)
    layers = [row["operators"] for row in program.manifest["kernels"] if row["macs"]]
    assert layers == ["linear", "linear"]


def test_what_else_stays_a_convolution() -> None:
    """Patches that overlap, or leave something over; padding; groups; a result that is read elsewhere too."""
    g = Weights()
    x = g.x(1, 4, 9, 9)
    windows = [
        Conv(strides=(2, 2))(x, g.w(6, 4, 3, 3), g.w(6)),
        Conv(strides=(4, 4))(x, g.w(6, 4, 4, 4), g.w(6)),
        Conv(strides=(3, 3), pads=(0, 0, 3, 3))(x, g.w(6, 4, 3, 3), g.w(6)),
        Conv(strides=(3, 3), group=2)(x, g.w(6, 2, 3, 3), g.w(6)),
    ]
    twice = Conv(strides=(3, 3))(x, g.w(6, 4, 3, 3), g.w(6))
    program = check_program(g.graph(*map(tokens, windows), tokens(twice), Relu()(twice)), NATIVE[-1])
    layers = [row["operators"] for row in program.manifest["kernels"] if row["macs"]]
    assert len(layers) == 5
    assert all(one.startswith("conv") for one in layers)
