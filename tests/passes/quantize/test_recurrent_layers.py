"""Quantised recurrent layers: close to the float ones, the same on every target, their states of 16 bits."""

from __future__ import annotations

from pathlib import Path

import beats
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import graphopt
from graphopt.ir import Array, Graph, Value, arg, constant, evaluate
from graphopt.ops import GRU, LSTM, RNN, IntegerSequence, Recurrent, Slice
from graphopt.passes import Context, Quantize
from graphopt.passes.contract import signal_to_noise

KINDS: list[Recurrent] = [
    *(LSTM(direction=d) for d in ("forward", "reverse", "bidirectional")),
    *(GRU(direction=d, linear_before_reset=b) for d in ("forward", "bidirectional") for b in (False, True)),
    RNN(direction="bidirectional"),
]
DECIBELS = 20.0
"""Of signal to noise, at least: 8 bits of weights and activations through a few steps."""

Shape = tuple[int, int, int, int]
"""Steps, batch, inputs, hidden."""


def layer(op: Recurrent, shape: Shape, initial: bool = False, seed: int = 0) -> Graph:
    """A layer with weights as torch draws them; all its results are outputs."""
    rng = np.random.default_rng(seed)
    steps, n, size, hidden = shape
    d, rows = len(op.reversed), op.gates * hidden

    def weights(*sizes: int) -> Value:
        return constant((rng.uniform(-1, 1, sizes) * hidden**-0.5).astype(np.float32))

    x = arg("x", "float32", (steps, n, size))
    states = [arg(f"s{i}", "float32", (d, n, hidden)) for i in range(op.states * initial)]
    node = op.apply(x, weights(d, rows, size), weights(d, rows, hidden), weights(d, 2 * rows), *states, name="layer")
    return Graph((x, *states), node.results)


def inputs_of(graph: Graph, seed: int) -> tuple[Array, ...]:
    """Normal numbers for x, states within what hidden states can be."""
    rng = np.random.default_rng(seed)
    x, *states = (v.type.static_shape for v in graph.inputs)
    drawn = rng.standard_normal(x), *(rng.uniform(-0.9, 0.9, s) for s in states)
    return tuple(a.astype(np.float32) for a in drawn)


def quantized(graph: Graph, **options: str) -> tuple[Graph, Context]:
    names = [graph.names[v.node] for v in graph.inputs]
    context = Context()
    data = [dict(zip(names, inputs_of(graph, seed), strict=True)) for seed in range(1, 4)]
    return Quantize(calibration=data, **options).run(graph, context), context  # type: ignore[arg-type]


def sequences(graph: Graph) -> list[IntegerSequence]:
    return [n.op for n in graph.nodes if isinstance(n.op, IntegerSequence)]


@settings(max_examples=40)
@given(
    op=st.sampled_from(KINDS),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 9), st.integers(4, 24)),
    initial=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_a_layer_is_close_to_the_float_one(op: Recurrent, shape: Shape, initial: bool, seed: int) -> None:
    graph = layer(op, shape, initial, seed)
    made, context = quantized(graph)
    assert not [note for note in context.notes if note.declined]
    # the results of a layer have one sequence a direction in common, and nothing is left in floats
    assert len(sequences(made)) == len(op.reversed)
    assert all(n.op.name in ("quantize", "dequantize") for n in made.nodes if n.types[0].is_float and n.inputs)
    inputs = inputs_of(graph, 1)
    for got, want in zip(evaluate(made, inputs), evaluate(graph, inputs), strict=True):
        assert signal_to_noise(got, want) > DECIBELS


@pytest.mark.parametrize("options", [{"weights": "int4"}, {"activations": "int16"}, {"per_channel": False}], ids=str)
def test_other_widths(options: dict[str, str]) -> None:
    graph = layer(GRU(linear_before_reset=True), (6, 2, 8, 16))
    made, _ = quantized(graph, **options)
    assert len(sequences(made)) == 1
    inputs = inputs_of(graph, 7)
    bound = 8.0 if options.get("weights") == "int4" else DECIBELS
    assert signal_to_noise(evaluate(made, inputs)[0], evaluate(graph, inputs)[0]) > bound


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_whole_graphs_are_the_same_bit_by_bit(target: str) -> None:
    for op in (LSTM(direction="bidirectional"), GRU()):
        graph = layer(op, (5, 2, 6, 11), initial=True)
        made, _ = quantized(graph)
        inputs = inputs_of(graph, 9)
        got = graphopt.compile(graphopt.optimize(made), target, io="float32").run(*inputs)
        for a, b in zip(got, evaluate(made, inputs), strict=True):
            np.testing.assert_array_equal(a, b)


def test_states_have_16_bits_where_they_are_carried_on() -> None:
    """A detector that is run chunk by chunk: through slices and a concatenation its state goes in and out."""
    whole = layer(LSTM(), (2, 1, 4, 8), initial=True)
    node = whole.outputs[0].node
    state = arg("state", "float32", (2, 1, 8))
    parts = [Slice(axis=0, start=i, stop=i + 1)(state) for i in (0, 1)]
    y, h, c = node.with_inputs([*node.inputs[:4], *parts]).results
    after = graphopt.ops.Concat(axis=0)(h, c, name="after")
    graph = Graph((whole.inputs[0], state), (y, after), ("y", "after"))
    made, _ = quantized(graph)
    program = graphopt.compile(graphopt.optimize(made))
    ports = {p["name"]: p["dtype"] for kind in ("inputs", "outputs") for p in program.manifest[kind]}
    assert ports == {"x": "int8", "state": "int16", "y": "int8", "after": "int16"}


def test_the_state_of_a_long_sequence_does_not_stall() -> None:
    """A gate of 0.998 lets a hidden state move by less than an eighth of an int8 step at a time, for 800 steps."""
    hidden, steps = 4, 800
    w, r = np.zeros((1, 3 * hidden, 1), np.float32), np.zeros((1, 3 * hidden, hidden), np.float32)
    w[0, 2 * hidden :] = 0.5
    bias = np.zeros((1, 6 * hidden), np.float32)
    bias[0, :hidden] = 6.2
    x = arg("x", "float32", (steps, 1, 1))
    node = GRU(linear_before_reset=True).apply(x, *map(constant, (w, r, bias)), name="slow")
    graph = Graph((x,), node.results[:1])
    ones = np.ones((steps, 1, 1), np.float32)
    made = Quantize(calibration=[ones])(graph)
    (want,), (got,) = graph(ones), made(ones)
    assert np.abs(np.diff(want[:, 0, 0, 0])).max() < 1 / 128 / 8
    assert want.max() > 0.3
    assert np.abs(got - want).max() < 0.01


def test_what_has_no_integer_form_says_why() -> None:
    relu = layer(RNN(activation="relu"), (3, 1, 4, 5))
    _, context = quantized(relu)
    assert any(n.declined and "RNN with relu" in n.text for n in context.notes)
    graph = layer(GRU(), (3, 1, 4, 5), initial=True)
    far = [{"x": np.ones((3, 1, 4), np.float32), "s0": np.full((1, 1, 5), 1.5, np.float32)}]
    context = Context()
    Quantize(calibration=far).run(graph, context)
    assert any(n.declined and "an initial state goes beyond 1" in n.text for n in context.notes)


@pytest.mark.slow
def test_heartbeats(shared: Path) -> None:
    """A GRU trained here, in short: int8 loses at most half a point, and a Cortex-M4 gives the integers of the host."""
    data = beats.load(shared)
    x, y = data["x_test"], data["y_test"]
    model = beats.train(nn.GRU, data["x_train"][::2], data["y_train"][::2], epochs=8)
    graph, made = beats.quantized(model, data["x_train"])
    made = graphopt.optimize(made)
    host = graphopt.compile(made, batch=500)
    got = np.concatenate([host.run(part) for part in np.split(x, 10)])
    (want,) = graph(x)
    assert got.dtype == np.int8
    accuracy, float_accuracy = ((a.argmax(1) == y).mean() for a in (got, want))
    print(f"float32 {float_accuracy:.2%}, int8 {accuracy:.2%}")
    assert float_accuracy > 0.95
    assert accuracy > float_accuracy - 0.005
    np.testing.assert_array_equal(graphopt.compile(made, "cortex-m4", batch=8).run(x[:8]), got[:8])
