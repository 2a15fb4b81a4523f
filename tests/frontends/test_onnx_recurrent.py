"""LSTM, GRU and RNN of ONNX against ONNX Runtime, evaluated and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from oracle import run

import graphopt
from graphopt.errors import Unsupported
from graphopt.ir import Array, Batch

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, N, SIZE, H = 5, 2, 3, 4
DIRECTIONS = ["forward", "reverse", "bidirectional"]


def layer(kind: str, extra: dict[str, Array], batch: int | str = N, **attributes: Any) -> onnx.ModelProto:
    """One layer on X with seeded weights; ``extra`` are further inputs, by their name in the specification."""
    rng = np.random.default_rng(0)
    d = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * H
    shapes = {"W": (d, rows, SIZE), "R": (d, rows, H), "B": (d, 2 * rows)}
    arrays = {name: (rng.standard_normal(shape) * 0.5).astype(np.float32) for name, shape in shapes.items()} | extra
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"][: 8 if kind == "LSTM" else 6]
    names = [n if n == "X" or n in arrays else "" for n in order]
    results = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    node = onnx.helper.make_node(kind, names, results, name="layer", hidden_size=H, **attributes)
    x = (batch, STEPS, SIZE) if attributes.get("layout") else (STEPS, batch, SIZE)
    given = onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, x)
    outputs = [onnx.helper.make_tensor_value_info(r, onnx.TensorProto.FLOAT, None) for r in results]
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = onnx.helper.make_graph([node], kind, [given], outputs, tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)


def states(kind: str, direction: str) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    d = 2 if direction == "bidirectional" else 1
    names = ["initial_h", "initial_c"] if kind == "LSTM" else ["initial_h"]
    return {name: rng.standard_normal((d, N, H)).astype(np.float32) for name in names}


def reference(model: onnx.ModelProto, x: Array) -> list[Array]:
    return run(model, {"X": x})


def data() -> Array:
    return np.random.default_rng(2).standard_normal((STEPS, N, SIZE)).astype(np.float32)


def hold(model: onnx.ModelProto, want: list[Array], x: Array) -> None:
    graph = graphopt.load(model)
    for results in (graph(x), graphopt.compile(graph).run(x)):
        for got, expected in zip(results, want, strict=True):
            assert got.shape == expected.shape
            assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layer(kind: str, direction: str, initial: bool) -> None:
    model = layer(kind, states(kind, direction) if initial else {}, direction=direction)
    hold(model, reference(model, data()), data())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gru_reset_after_the_product(direction: str) -> None:
    model = layer("GRU", states("GRU", direction), direction=direction, linear_before_reset=1)
    hold(model, reference(model, data()), data())


def test_rnn_of_relu() -> None:
    model = layer("RNN", {}, activations=["Relu"])
    hold(model, reference(model, data()), data())


def test_only_one_initial_state() -> None:
    given = {"initial_c": states("LSTM", "forward")["initial_c"]}
    model = layer("LSTM", given)
    hold(model, reference(model, data()), data())


def test_zero_initial_states_are_left_out() -> None:
    zero = {name: np.zeros_like(state) for name, state in states("LSTM", "forward").items()}
    graph = graphopt.load(layer("LSTM", zero))
    assert len(graph.node("layer").inputs) == 4


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_batch_first(kind: str) -> None:
    """ONNX Runtime has no layout 1: the reference has the axes swapped."""
    y, *finals = reference(layer(kind, {}, direction="bidirectional"), data())
    model = layer(kind, {}, direction="bidirectional", layout=1)
    want = [y.transpose(2, 0, 1, 3), *(f.transpose(1, 0, 2) for f in finals)]
    hold(model, want, np.ascontiguousarray(data().transpose(1, 0, 2)))


def test_full_lengths_are_no_obstacle() -> None:
    model = layer("GRU", {"sequence_lens": np.full(N, STEPS, np.int32)})
    hold(model, reference(model, data()), data())


def test_batch_stays_symbolic() -> None:
    graph = graphopt.load(layer("LSTM", {}, batch="n", layout=1))
    assert [v.type.shape for v in graph.outputs] == [(Batch(), STEPS, 1, H), (Batch(), 1, H), (Batch(), 1, H)]


@pytest.mark.parametrize(
    ("kind", "extra", "attributes", "message"),
    [
        ("LSTM", {"P": np.ones((1, 3 * H), np.float32)}, {}, "peepholes"),
        ("LSTM", {}, {"input_forget": 1}, "input_forget"),
        ("LSTM", {}, {"clip": 1.0}, "LSTM with clip"),
        ("GRU", {}, {"activations": ["HardSigmoid", "Tanh"]}, "GRU with activations HardSigmoid, Tanh"),
        ("RNN", {}, {"activations": ["Softsign"]}, "RNN with activations Softsign"),
        ("GRU", {"sequence_lens": np.array([STEPS, 2], np.int32)}, {}, "sequence_lens"),
    ],
)
def test_refusals(kind: str, extra: dict[str, Array], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        graphopt.load(layer(kind, extra, **attributes))
