"""The alarm: channels and outputs that quantisation ruins are named, others are not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from mlperf import NETS, calibration, graphs

from graphopt import save
from graphopt.cli import main
from graphopt.ir import Array, Batch, Graph, Op, Value, arg, constant
from graphopt.ops import Conv, Linear, Relu, Reshape, Sigmoid, Softmax, Transpose
from graphopt.passes import Context, Quantize

RNG = np.random.default_rng(0)
X = arg("x", "float32", (Batch(), 3, 6, 6))
DATA = [RNG.standard_normal((8, 3, 6, 6)).astype("float32") for _ in range(4)]
LOUD = np.where(np.arange(9) < 4, 320.0, 1.0)
"""Of nine channels, four are 320 times as loud."""


def heads(factors: Array = LOUD, bias: float = 0.0) -> Value:
    weight = np.random.default_rng(1).standard_normal((len(factors), 3, 1, 1)) / 2 * factors.reshape(-1, 1, 1, 1)
    arrays = weight, np.full(len(factors), bias)
    return Conv()(X, *(constant(np.asarray(a, "float32")) for a in arrays), name="heads")


def alarms(*outputs: Value, overrides: Mapping[str, str] | None = None, data: list[Array] = DATA) -> list[str]:
    context = Context()
    graph = Graph((X,), outputs, tuple(f"y{i}" for i in range(len(outputs))))
    Quantize(calibration=data, overrides=overrides or {}, recover=()).run(graph, context)
    return [str(note) for note in context.notes if note.alarm]


def test_ruined_channels_are_named() -> None:
    (text,) = alarms(heads())
    assert "y0: channels 4 to 8 of axis 1" in text
    assert not alarms(heads(), overrides={"heads": "int16"})
    assert not alarms(heads(np.ones(9)))


def test_channels_of_the_last_axis() -> None:
    last = Transpose(perm=(0, 2, 1))(Reshape(shape=(Batch(), 9, 36))(heads()))
    (text,) = alarms(last)
    assert "channels 4 to 8 of axis 2" in text


def test_a_ruined_output_is_named() -> None:
    def layer(name: str) -> Value:
        weight = np.random.default_rng(len(name)).standard_normal((4, 108)) ** 5
        arrays = (constant(np.asarray(a, "float32")) for a in (weight, np.zeros(4)))
        return Linear()(Reshape(shape=(Batch(), 108))(X), *arrays, name=name)

    (text,) = alarms(layer("good"), layer("bad"), overrides={"bad": "binary"})
    assert "y1: this output keeps" in text


def test_an_offset_is_no_signal() -> None:
    """A channel of 1000 that moves by one: by its power the ratio is fine, and yet it says nothing any more."""
    (text,) = alarms(heads(np.ones(3), bias=1000.0))
    assert "this output keeps" in text


@pytest.mark.parametrize("factor", [0.0, 1e-9])
def test_what_is_constant_has_nothing_to_lose(factor: float) -> None:
    factors = np.where(np.arange(9) < 4, 1.0, factor)
    assert not alarms(heads(factors))
    assert not alarms(heads(factors, bias=0.5))


@pytest.mark.parametrize("op", [Softmax(axis=1), Sigmoid()])
def test_a_class_that_is_never_likely_is_no_loss(op: Op) -> None:
    bias = constant(np.where(np.arange(9) < 4, 0.0, -9.0).astype("float32"))
    weight = constant(np.random.default_rng(1).standard_normal((9, 3, 1, 1)).astype("float32"))
    assert not alarms(Transpose(perm=(0, 2, 3, 1))(op(Conv()(X, weight, bias))))


def test_of_a_single_sample_and_of_zeros() -> None:
    assert not alarms(Relu()(heads(np.ones(9))), data=[DATA[0][:1]])
    assert not alarms(heads(np.ones(9)), data=[np.zeros((1, 3, 6, 6), "float32")])


@pytest.mark.parametrize("name", NETS)
def test_the_nets_raise_none(name: str, shared: Path) -> None:
    context = Context()
    Quantize(calibration=calibration(shared, name)[:32]).run(graphs(shared, name)[0], context)
    assert not [str(note) for note in context.notes if note.alarm]


@pytest.mark.parametrize(
    "command",
    [
        ["opt", "{model}", "-p", "quantize", "-o", "{folder}/small.gopt"],
        ["compile", "{model}", "--quantize", "int8", "-o", "{folder}/out"],
        ["bench", "{model}", "--quantize", "int8", "-t", "host"],
    ],
)
def test_commands_warn(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(Graph((X,), (heads(),), ("boxes",)), tmp_path / "model.gopt")
    np.save(tmp_path / "data.npy", np.concatenate(DATA))
    words = [w.format(model=tmp_path / "model.gopt", folder=tmp_path) for w in command]
    monkeypatch.setattr(sys, "argv", ["graphopt", *words, "--calibration", str(tmp_path / "data.npy")])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "warning: quantize: boxes: channels 4 to 8" in capsys.readouterr().err
