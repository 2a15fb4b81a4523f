"""GRAPHOPT_DEBUG tells how the kernel of each node was chosen."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from compiling import Weights

from graphopt.errors import InvalidInput
from graphopt.ir import Graph, arg
from graphopt.ops import Conv, Linear, MaxPool, ReduceMean, Relu, Reshape, Tanh
from graphopt.targets import get_target
from graphopt.targets.kernels import KERNEL_RULES, Kernel, Task
from graphopt.targets.kernels.nest import linear_nest
from graphopt.targets.lowering import lower

KERNELS = "graphopt.targets.kernels"


def linear_for_dsp(task: Task[Linear]) -> Kernel:
    return linear_nest(task)


def net() -> Graph:
    w, x = Weights().w, arg("x", "float32", (1, 4, 9, 9))
    y = Conv(pads=(1, 1, 1, 1))(x, w(8, 4, 3, 3), w(8), name="con\x1b[2Jv")
    y = Conv(pads=(1, 1, 1, 1), group=8)(Tanh()(y, name="act"), w(8, 1, 3, 3), w(8), name="depthwise")
    y = ReduceMean(axes=(2, 3))(MaxPool(kernel=(2, 2), strides=(2, 2))(y, name="pool"), name="mean")
    y = Linear()(Reshape(shape=(1, 8))(y, name="flat"), w(3, 8), w(3), name="classes")
    return Graph((x,), (Relu()(y, name="out"),))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is told on level 2 of kernels, on a target with a DSP, for whose linear layers there is a rule."""
    monkeypatch.setitem(KERNEL_RULES, (Linear, "my-dsp"), linear_for_dsp)
    monkeypatch.setenv("GRAPHOPT_DEBUG", "2")
    lower(net(), replace(get_target("x86-64-v3"), isa=("my-dsp", "avx2")))
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("graphopt: kernel of ")]


def test_every_kernel_is_told_of(told: list[str]) -> None:
    nodes = [re.match(r"graphopt: kernel of (\S+): ", line) for line in told]
    assert [n and n[1] for n in nodes] == [r"con\x1b[2Jv", "act", "depthwise", "pool", "mean", "classes", "out"]
    assert f"conv_3x3 by {KERNELS}.strip_conv.conv_of_strips for llvm, tile of 9 x 1 " in told[0]
    assert told[1].endswith(f"tanh by {KERNELS}.elementwise.elementwise_vectors for llvm, channels-last")
    assert "depthwise_3x3 by" in told[2] and told[2].endswith("tile of 4 x 1 (pixels x vectors), channels-last")
    assert f"linear by {__name__}.linear_for_dsp for my-dsp, row-major" in told[5]


@pytest.mark.parametrize("level", ["", "0", "1"])
def test_lower_levels_do_not(level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GRAPHOPT_DEBUG", level)
    lower(net(), get_target("cortex-m4"))
    assert not capsys.readouterr().err


def test_an_unknown_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHOPT_DEBUG", "loud")
    with pytest.raises(InvalidInput, match="there is no level 'loud'"):
        lower(net(), get_target("cortex-m4"))
