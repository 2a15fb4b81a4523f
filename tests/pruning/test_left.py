"""What is left of the outputs: the figure that pruning warns by."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import Add, Linear, Mul
from graphopt.passes import Context, Pipeline, PruneChannels
from graphopt.passes.prune import signal_left
from pruning.nets import residual_net

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 3)).astype("float32")


def scaled(scale: float, offset: float = 100.0) -> Graph:
    """scale * x + offset: the offset is most of the output, and tells nothing."""
    x = arg("x", "float32", (Batch(), 3))

    def number(value: float) -> Value:
        return constant(np.float32(value))

    return Graph((x,), (Add()(Mul()(x, number(scale)), number(offset)),), output_names=("y",))


def test_a_constant_is_no_signal() -> None:
    left = signal_left(scaled(1.0), scaled(0.0), X)
    assert abs(left.decibels) < 0.1 and not left.enough
    assert (left.output, left.samples, left.on_data) == ("y", 128, True)
    assert abs(signal_left(scaled(1.0), scaled(0.9), X).decibels - 20) < 0.1


def test_classes_that_change() -> None:
    assert signal_left(scaled(1.0), scaled(-1.0), {"x": X, "label": X.argmax(1)}).same_class == 0.0


def test_random_inputs_are_said_to_be_random() -> None:
    left = signal_left(scaled(1.0), scaled(0.0))
    assert not left.on_data and left.decibels > 30
    assert "random inputs" in str(left)


def test_the_same_outputs_and_none_at_all() -> None:
    assert str(signal_left(scaled(1.0), scaled(1.0), X)).startswith("unchanged")
    assert signal_left(scaled(1.0), scaled(np.inf), X).decibels == float("-inf")


def test_an_output_that_never_varies_is_measured_as_it_is() -> None:
    x = arg("x", "float32", (Batch(), 3))
    zero = constant(np.zeros((2, 3), "float32"))
    nets = [Graph((x,), (Linear()(x, zero, constant(np.full(2, b, "float32"))),)) for b in (1.0, 1.1)]
    assert abs(signal_left(nets[0], nets[1], X).decibels - 20) < 0.1


def test_the_pass_notes_it_where_there_is_data() -> None:
    samples = RNG.standard_normal((8, 3, 8, 8)).astype("float32")
    context = Context(calibration=samples)
    Pipeline([PruneChannels(ratio=0.5)])(residual_net(), context)
    (told,) = [n.text for n in context.notes if "signal to noise" in n.text]
    assert "on 8 samples" in told
    silent = Context()
    Pipeline([PruneChannels(ratio=0.5)])(residual_net(), silent)
    assert not any("signal to noise" in n.text for n in silent.notes)
