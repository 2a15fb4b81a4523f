"""The rules of recurrent layers, and of the sequences they decompose into: layers whose w is the identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule
from graphopt.ops.recurrent import Recurrent
from graphopt.ops.sequence import RecurrentSequence


def settings(op: Recurrent | RecurrentSequence) -> tuple[str, dict[str, Any]]:
    """The operator of ONNX and the attributes that tell layers of a kind apart."""
    if isinstance(op, ops.GRU | ops.GruSequence):
        return "GRU", {"linear_before_reset": int(op.linear_before_reset)}
    if isinstance(op, ops.RNN | ops.RnnSequence):
        directions = len(op.reversed) if isinstance(op, Recurrent) else 1
        return "RNN", {"activations": [op.activation.capitalize()] * directions}
    return "LSTM", {}


@export_rule(ops.LSTM, ops.GRU, ops.RNN)
def layer(op: Recurrent, at: At) -> None:
    kind, attributes = settings(op)
    x, w, r = (at.input(i) for i in range(3))
    states = [at.input(i) for i in range(4, len(at.types))]
    bias = at.bias(3) or [""] * bool(states)
    inputs = [x, w, r, *bias, *([""] if states else []), *states]
    hidden = at.types[2].static_shape[2]
    at.result(kind, *inputs, hidden_size=hidden, direction=op.direction, **attributes)


@export_rule(ops.LstmSequence, ops.GruSequence, ops.RnnSequence)
def sequence(op: RecurrentSequence, at: At) -> None:
    """y [t, 1, n, h] loses the axis of directions; the row behind it is added."""
    kind, attributes = settings(op)
    hidden, dtype = at.types[1].static_shape[1], at.types[0].dtype
    rows = op.gates * hidden
    first = at.constant([0])
    gates, r, *rest = at.inputs
    bias = [""]
    if op.biases:
        zeros = at.constant(np.zeros(2 * rows - hidden), dtype)
        bias = [at.emit("Unsqueeze", at.emit("Concat", zeros, rest[0], axis=0, part="biases"), first, part="bias")]
    states = [at.emit("Unsqueeze", s, first, part="state") for s in rest[op.biases :]]
    inputs = [
        gates,
        at.constant(np.eye(rows)[None], dtype),
        at.emit("Unsqueeze", r, first, part="r"),
        *bias,
        "",
        *states,
    ]
    while not inputs[-1]:
        inputs.pop()
    direction = "reverse" if op.reverse else "forward"
    y, *last = at.emit_all(kind, *inputs, results=op.states + 1, hidden_size=hidden, direction=direction, **attributes)
    y = at.emit("Squeeze", y, at.constant([1]), part="hidden")
    if not op.rows:
        at.result("Identity", y)
        return
    row = last[1] if isinstance(op, ops.LstmSequence) else reset_row(op, at, y, rest)
    at.result("Concat", y, row, axis=0)


def reset_row(op: RecurrentSequence, at: At, y: str, rest: list[str]) -> str:
    """The last r * h of a GRU, from the state before the last step: [1, n, h]."""
    steps, n, _ = at.types[0].shape
    hidden = at.types[1].static_shape[1]
    axis, gates, r = at.constant([0]), *at.inputs[:2]

    def cut(x: str, axis: int, start: int, stop: int) -> str:
        return at.emit("Slice", x, at.constant([start]), at.constant([stop]), at.constant([axis]))

    step, before = (0, 1) if op.reverse else (at.types[0].with_shape((steps,)).static_shape[0] - 1, -1)
    if steps == 1 and len(rest) == op.biases:
        zero = at.constant(np.zeros((1, 1, 1)), at.types[0].dtype)
        return at.emit("Expand", zero, at.shape((1, n, hidden)), part="reset")
    h = at.emit("Unsqueeze", rest[op.biases], axis) if steps == 1 else cut(y, 0, step + before, step + before + 1)
    gate = cut(cut(gates, 0, step, step + 1), 2, hidden, 2 * hidden)
    weight = at.emit("Transpose", cut(r, 0, hidden, 2 * hidden), perm=(1, 0))
    reset = at.emit("Sigmoid", at.emit("Add", gate, at.emit("MatMul", h, weight)))
    return at.emit("Mul", reset, h, part="reset")
