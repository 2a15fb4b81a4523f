"""Recurrent operators against LiteRT: an SVDF step by step, its state fed back; an LSTM over a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphopt
from frontends.tflite.building import parameters
from frontends.tflite.case import INT8
from frontends.tflite.drawing import quantize
from frontends.tflite.oracle import Reference
from frontends.tflite.states import FILTERS, MEMORY, SIZE, STEPS, floats, lstm, svdf
from graphopt.ir import Graph


def loaded(model: bytes, folder: Path) -> Graph:
    path = folder / "model.tflite"
    path.write_bytes(model)
    return graphopt.load(path)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("rank", [1, 2])
def test_an_svdf_keeps_its_state_in_ports(rank: int, integers: bool, bias: bool, tmp_path: Path) -> None:
    model = svdf(rank, integers, bias)
    reference, graph = Reference(model), loaded(model, tmp_path)
    small = graphopt.optimize(graph)
    assert [v.node.name for v in graph.inputs] == ["x", "s"]
    assert graph.output_names == ("y", "s.next")
    state = lowered = np.zeros((1, FILTERS * MEMORY), np.float32)
    for step in range(8):
        x = floats(1, SIZE, seed=10 + step)
        stored = quantize(x, 2 / 255, 0, INT8) if integers else x
        (wanted,) = reference([stored], keep=True)
        y, state = graph(x, state)
        z, lowered = small(x, lowered)
        for given in (y, z):
            steps = np.rint(given / np.float32(8 / 255)) - 128 if integers else given
            np.testing.assert_allclose(steps, wanted, atol=1 if integers else 1e-5)


@pytest.mark.parametrize("time_major", [False, True])
def test_an_lstm_in_floats(time_major: bool, tmp_path: Path) -> None:
    model = lstm(False, time_major)
    graph = loaded(model, tmp_path)
    x = floats(*graph.inputs[0].type.static_shape, seed=5, reach=2)
    np.testing.assert_allclose(graph(x)[0], Reference(model)([x])[0], atol=1e-5)


def test_an_lstm_in_integers(tmp_path: Path) -> None:
    """LiteRT's gates are of int16 with approximations of their own: steps may differ by a few."""
    model = lstm(True)
    graph = loaded(model, tmp_path)
    scale, zero = parameters(INT8, -2, 2)
    stored = quantize(floats(1, STEPS, SIZE, seed=5, reach=2), scale, zero, INT8)
    x = (stored.astype(np.float32) - zero) * np.float32(scale)
    (wanted,) = Reference(model)([stored])
    for made in (graph, graphopt.optimize(graph)):
        assert np.abs(np.rint(made(x)[0] * 128) - wanted).max() <= 2


def test_a_clip_of_cells_that_could_matter_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded(lstm(False, cellClip=10.0), tmp_path)
    assert not caplog.text
    loaded(lstm(False, cellClip=3.0), tmp_path)
    assert "clipped at 3" in caplog.text
