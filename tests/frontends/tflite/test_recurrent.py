"""Recurrent operators against LiteRT: an SVDF step by step, its state fed back; an LSTM over a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphopt
from frontends.tflite.cases import FLOAT, INT8, RELU, TANH, parameters
from frontends.tflite.drawing import Drawn, Tensor, constant, draw, quantize
from frontends.tflite.oracle import Reference
from graphopt.ir import Array, Graph

FILTERS, MEMORY, SIZE = 8, 5, 6
STEPS, HIDDEN = 7, 4


def floats(*shape: int, seed: int, reach: float = 1.0) -> Array:
    return np.random.default_rng(seed).uniform(-reach, reach, shape).astype(np.float32)


def svdf(rank: int, integers: bool, bias: bool) -> bytes:
    units = FILTERS // rank
    scales = (
        {"x": 2 / 255, "w": 1 / 127, "t": 1 / 32767, "s": 8 / 32767, "y": 8 / 255}
        if integers
        else dict.fromkeys("xwtsy", 0.0)
    )
    kind = INT8 if integers else FLOAT
    tensors = [
        Tensor("x", kind, (1, SIZE), None, [scales["x"]] if integers else [], [0] if integers else []),
        constant("w", floats(FILTERS, SIZE, seed=1), scales["w"]),
        constant("t", floats(FILTERS, MEMORY, seed=2), scales["t"], "int16"),
        constant("b", floats(units, seed=3), scales["t"] * scales["s"], "int32"),
        Tensor(
            "s",
            "int16" if integers else FLOAT,
            (1, FILTERS * MEMORY),
            None,
            [scales["s"]] if integers else [],
            [0] if integers else [],
            variable=True,
        ),
        Tensor("y", kind, (1, units), None, [scales["y"]] if integers else [], [-128] if integers else []),
    ]
    options = {"rank": rank, "fusedActivationFunction": RELU}
    drawn = Drawn(
        "SVDF", ["x", "w", "t", "b" if bias else None, "s"], ["y"], options, "SVDFOptions", version=3 if integers else 1
    )
    return draw(tensors, [drawn], ["x"], ["y"])


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


def lstm(integers: bool, time_major: bool = False, **options: float) -> bytes:
    shape = (STEPS, 1, SIZE) if time_major else (1, STEPS, SIZE)
    x_scale, x_zero = parameters(INT8, -2, 2)
    h_scale, h_zero = 1 / 128, 0
    quantized = ([x_scale], [x_zero]) if integers else ([], [])
    hidden = ([h_scale], [h_zero]) if integers else ([], [])
    kind = INT8 if integers else FLOAT
    tensors = [Tensor("x", kind, shape, None, *quantized)]
    for g, gate in enumerate("ifco"):
        scale = (0.9 + 0.1 * g) / 127 if integers else 0.0
        tensors += [
            constant(f"w{gate}", floats(HIDDEN, SIZE, seed=g, reach=0.8), scale),
            constant(f"r{gate}", floats(HIDDEN, HIDDEN, seed=10 + g, reach=0.8), scale),
            constant(f"b{gate}", floats(HIDDEN, seed=20 + g), scale * x_scale, "int32"),
        ]
    tensors += [
        Tensor("h", kind, (1, HIDDEN), None, *hidden, variable=True),
        Tensor(
            "c",
            "int16" if integers else FLOAT,
            (1, HIDDEN),
            None,
            [2.0**-11] if integers else [],
            [0] if integers else [],
            variable=True,
        ),
        Tensor("y", kind, (*shape[:2], HIDDEN), None, *hidden),
    ]
    inner = [
        Tensor(f"m{i}", INT8 if i == 4 else "int16", (), None, [h_scale if i == 4 else 2.0**-12], [0]) for i in range(5)
    ]
    names = ["x", *(f"w{g}" for g in "ifco"), *(f"r{g}" for g in "ifco"), *[None] * 3, *(f"b{g}" for g in "ifco")]
    names += [None, None, "h", "c", *[None] * 4]
    chosen = {"fusedActivationFunction": TANH, "timeMajor": time_major, **options}
    kinds = "UnidirectionalSequenceLSTMOptions"
    used = inner if integers else []
    drawn = Drawn("UNIDIRECTIONAL_SEQUENCE_LSTM", names, ["y"], chosen, kinds, [t.name for t in used])
    return draw([*tensors, *used], [drawn], ["x"], ["y"])


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
