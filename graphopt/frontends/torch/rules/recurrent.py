"""The rules of the recurrent aten operators, matched whole: decomposed they would be unrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.normal_recurrent import is_zero, layer
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.ir import Array, Value, constant

ORDERS: dict[type[ops.Recurrent], tuple[int, ...]] = {ops.LSTM: (0, 3, 1, 2), ops.GRU: (1, 0, 2), ops.RNN: (0,)}
"""Where the gates in ONNX's order stand in torch's: i, f, g, o and r, z, n."""


def stacked(at: AtenNode, kind: type[ops.Recurrent], parts: Sequence[Sequence[Value]]) -> Value:
    """A parameter of a layer: for each direction its parts one after the other, gates in ONNX's order."""

    def ordered(parameter: Value) -> Array:
        if parameter.constant is None:
            raise InvalidGraph(f"{parameter} is not constant")
        gates = np.split(parameter.constant, len(ORDERS[kind]))
        return np.concatenate([gates[i] for i in ORDERS[kind]])

    data = np.stack([np.concatenate([ordered(p) for p in direction]) for direction in parts])
    return constant(data, like=parts[0][0])


def layers(
    at: AtenNode,
    make: Callable[[str], ops.Recurrent],
    x: Value,
    initial: Sequence[Value],
    params: Sequence[Value],
    biased: bool,
    count: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Value, ...]:
    """Layers on top of each other; torch's results: y [t, n, d * h] (or batch first), the last states of all layers."""
    op = make("bidirectional" if bidirectional else "forward")
    d, each = len(op.reversed), 4 if biased else 2
    x = normal.transpose(at, x, (1, 0, 2), "time_first") if batch_first else x
    finals: list[tuple[Value, ...]] = []
    for i in range(count):
        groups = [params[(i * d + j) * each : (i * d + j + 1) * each] for j in range(d)]
        w, r = (stacked(at, type(op), [[g[k]] for g in groups]) for k in (0, 1))
        bias = stacked(at, type(op), [g[2:] for g in groups]) if biased else None
        given = [None if is_zero(s) else normal.take(at, s, 0, i * d, (i + 1) * d, part="initial") for s in initial]
        y, *last = layer(at, op, x, w, r, bias, given)
        finals.append(tuple(last))
        t, n = y.type.shape[0], y.type.shape[2]
        y = normal.transpose(at, y, (0, 2, 1, 3), "directions") if d > 1 else y
        x = normal.reshape(at, y, (t, n, d * r.type.static_shape[2]), "features")
    y = normal.transpose(at, x, (1, 0, 2), "batch_first") if batch_first else x
    return (y, *(normal.concat(at, state, 0) for state in zip(*finals, strict=True)))


def check_mode(dropout: float, training: bool) -> None:
    if training and dropout:
        raise Unsupported("dropout between recurrent layers, in training mode", advice="export in eval mode")


@aten_rule("lstm.input")
def lstm(
    at: AtenNode,
    x: Value,
    initial: Sequence[Value],
    params: Sequence[Value],
    biased: bool,
    count: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Value, ...]:
    """With a projection, which has one more parameter a direction, it is refused."""
    check_mode(dropout, training)
    if len(params) != (4 if biased else 2) * count * (2 if bidirectional else 1):
        raise Unsupported("an LSTM with a projection (proj_size)", advice="project its result by a linear layer")
    return layers(at, lambda d: ops.LSTM(direction=d), x, initial, params, biased, count, bidirectional, batch_first)


def single_state(make: Callable[[str], ops.Recurrent]) -> Callable[..., tuple[Value, ...]]:
    """The rule of a layer of one state."""

    def rule(
        at: AtenNode,
        x: Value,
        initial: Value,
        params: Sequence[Value],
        biased: bool,
        count: int,
        dropout: float,
        training: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Value, ...]:
        check_mode(dropout, training)
        return layers(at, make, x, [initial], params, biased, count, bidirectional, batch_first)

    return rule


def gru(direction: str) -> ops.Recurrent:
    return ops.GRU(direction=direction, linear_before_reset=True)


aten_rule("gru.input")(single_state(gru))
aten_rule("rnn_tanh.input")(single_state(lambda d: ops.RNN(direction=d)))
aten_rule("rnn_relu.input")(single_state(lambda d: ops.RNN(direction=d, activation="relu")))


def cell(
    at: AtenNode, op: ops.Recurrent, x: Value, states: Sequence[Value], params: Sequence[Value | None]
) -> tuple[Value, ...]:
    """One step of a layer: x [n, i] and states [n, h] to the next states."""
    given = [p for p in params if p is not None]
    w, r = (stacked(at, type(op), [[p]]) for p in given[:2])
    bias = stacked(at, type(op), [given[2:]]) if len(given) > 2 else None
    step = normal.reshape(at, x, (1, *x.type.shape), "step")
    before = [None if is_zero(s) else normal.reshape(at, s, (1, *s.type.shape), "state") for s in states]
    _, *after = layer(at, op, step, w, r, bias, before)
    return tuple(normal.reshape(at, s, s.type.shape[1:], "after") for s in after)


@aten_rule("lstm_cell.default")
def lstm_cell(at: AtenNode, x: Value, states: Sequence[Value], *params: Value | None) -> tuple[Value, ...]:
    return cell(at, ops.LSTM(), x, states, params)


@aten_rule("gru_cell.default")
def gru_cell(at: AtenNode, x: Value, state: Value, *params: Value | None) -> Value:
    return cell(at, ops.GRU(linear_before_reset=True), x, [state], params)[0]


@aten_rule("rnn_tanh_cell.default")
def rnn_tanh_cell(at: AtenNode, x: Value, state: Value, *params: Value | None) -> Value:
    return cell(at, ops.RNN(), x, [state], params)[0]


@aten_rule("rnn_relu_cell.default")
def rnn_relu_cell(at: AtenNode, x: Value, state: Value, *params: Value | None) -> Value:
    return cell(at, ops.RNN(activation="relu"), x, [state], params)[0]
