"""The rules of the recurrent ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.normal_recurrent import layer
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Value

ADVICE = "write it as a loop over steps that is unrolled, or train it without"


@onnx_rule("LSTM")
def lstm(at: OnnxNode) -> Sequence[Value]:
    if at.has(7) and not (at.is_known(7) and not at.known(7).any()):
        raise Unsupported("an LSTM with peepholes (input P)", advice=ADVICE)
    if at.flag("input_forget"):
        raise Unsupported("an LSTM that couples its input and forget gates (input_forget)", advice=ADVICE)
    check_activations(at, ("Sigmoid", "Tanh", "Tanh"))
    return recurrent(at, ops.LSTM(direction=at.text("direction")))


@onnx_rule("GRU")
def gru(at: OnnxNode) -> Sequence[Value]:
    check_activations(at, ("Sigmoid", "Tanh"))
    before = at.flag("linear_before_reset")
    return recurrent(at, ops.GRU(direction=at.text("direction"), linear_before_reset=before))


@onnx_rule("RNN")
def rnn(at: OnnxNode) -> Sequence[Value]:
    """Of other activations than tanh, relu is known."""
    direction, given = at.text("direction"), at.raw("activations")
    activation = "relu" if given and {str(a).lower() for a in given} == {"relu"} else "tanh"
    if activation == "tanh":
        check_activations(at, ("Tanh",))
    return recurrent(at, ops.RNN(direction=direction, activation=activation))


def check_activations(at: OnnxNode, default: tuple[str, ...]) -> None:
    """Refuse other activations than the default ones."""
    given = [str(a) for a in at.raw("activations") or []]
    directions = 2 if at.text("direction") == "bidirectional" else 1
    if given and [a.lower() for a in given] != [a.lower() for a in default * directions]:
        raise Unsupported(f"{at.op} with activations {', '.join(given)}", advice=f"only {', '.join(default)} are known")


def recurrent(at: OnnxNode, op: ops.Recurrent) -> Sequence[Value]:
    """The results of a layer; ``layout`` 1 has the batch first."""
    if at.raw("clip") is not None:
        raise Unsupported(f"{at.op} with clip", advice=ADVICE)
    if op.direction not in ops.DIRECTIONS:
        raise InvalidInput(f"direction {op.direction!r}")
    batch_first = at.flag("layout")
    x = at.value(0)
    x = normal.transpose(at, x, (1, 0, 2), "time_first") if batch_first else x
    check_lengths(at, x)
    given = [at.optional(i) for i in (5, 6)[: op.states]]
    if batch_first:
        given = [s and normal.transpose(at, s, (1, 0, 2), "initial") for s in given]
    y, *finals = layer(at, op, x, at.value(1), at.value(2), at.optional(3), given)
    if not batch_first:
        return [y, *finals]
    turned = [normal.transpose(at, f, (1, 0, 2), "final") for f in finals]
    return [normal.transpose(at, y, (2, 0, 1, 3), "batch_first"), *turned]


def check_lengths(at: OnnxNode, x: Value) -> None:
    """Refuse sequences of several lengths: those given must be known, and that of x."""
    if at.has(4) and not (at.is_known(4) and (at.known(4) == x.type.shape[0]).all()):
        raise Unsupported(f"{at.op} with sequence_lens", advice="all sequences of a batch must have the full length")
