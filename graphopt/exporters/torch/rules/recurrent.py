"""Recurrent layers and sequences, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule
from graphopt.ir import Op

Step = Callable[[Tensor, list[Tensor]], list[Tensor]]
"""From the gates of a step, to which the product of x and w and all early biases were added, and the states, to the
next states, then what else a sequence has in the rows behind the hidden states."""


def lstm_step(op: Op, r: Tensor, late: Sequence[Tensor]) -> Step:
    def step(gates: Tensor, states: list[Tensor]) -> list[Tensor]:
        h, c = states
        i, o, f, g = F.linear(h, r, None).add(gates).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]

    return step


def gru_step(op: ops.GRU | ops.GruSequence, r: Tensor, late: Sequence[Tensor]) -> Step:
    size = r.shape[1]
    early, last, (bias,) = r[: 2 * size], r[2 * size :], late

    def step(gates: Tensor, states: list[Tensor]) -> list[Tensor]:
        h = states[0]
        z, reset = torch.sigmoid(gates[:, : 2 * size] + F.linear(h, early)).chunk(2, 1)
        inner = reset * F.linear(h, last, bias) if op.linear_before_reset else F.linear(reset * h, last, bias)
        return [(1 - z) * torch.tanh(gates[:, 2 * size :] + inner) + z * h, reset * h]

    return step


def rnn_step(op: ops.RNN | ops.RnnSequence, r: Tensor, late: Sequence[Tensor]) -> Step:
    squash = torch.tanh if op.activation == "tanh" else torch.relu
    return lambda gates, states: [squash(gates + F.linear(states[0], r))]


STEPS: dict[type[Op], Callable[..., Step]] = {
    ops.GRU: gru_step,
    ops.GruSequence: gru_step,
    ops.LSTM: lstm_step,
    ops.LstmSequence: lstm_step,
    ops.RNN: rnn_step,
    ops.RnnSequence: rnn_step,
}


def scan(step: Step, gates: Tensor, states: list[Tensor], reverse: bool) -> tuple[Tensor, list[Tensor]]:
    """The hidden states of all steps [t, n, h], and what the last step gave."""
    hidden = []
    for gate in reversed(gates.unbind()) if reverse else gates.unbind():
        states = step(gate, states)
        hidden.append(states[0])
    return torch.stack(hidden[::-1] if reverse else hidden), states


@torch_rule(ops.LSTM, ops.GRU, ops.RNN)
def layer(op: ops.Recurrent, x: Tensor, w: Tensor, r: Tensor, bias: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    """By PyTorch's own layer where it has one of that form, which is some times as fast; else step by step."""
    given = list(states) or [x.new_zeros(len(op.reversed), x.shape[1], r.shape[2])] * op.states
    one_dtype = {t.dtype for t in (x, w, r, bias, *given)} in OWN_DTYPES
    own = own_layer(op) if one_dtype else None
    return stepwise(op, x, w, r, bias, given) if own is None else by_own_layer(own, op, x, w, r, bias, given)


OWN_DTYPES = ({torch.float32}, {torch.float64})
"""What PyTorch's layers take on every device; mixed precision mixes them."""


class OwnLayer(NamedTuple):
    """A recurrent layer of PyTorch, and the places of its gates among those of the operator."""

    function: Callable[..., Sequence[Tensor]]
    gates: tuple[int, ...]


def own_layer(op: ops.Recurrent) -> OwnLayer | None:
    """The layer that PyTorch has for an operator; None for a GRU that resets before the product."""
    match op:
        case ops.LSTM():
            return OwnLayer(torch.lstm, (0, 2, 3, 1))
        case ops.GRU(linear_before_reset=True):
            return OwnLayer(torch.gru, (1, 0, 2))
        case ops.RNN():
            return OwnLayer(torch.rnn_tanh if op.activation == "tanh" else torch.rnn_relu, (0,))
    return None


def by_own_layer(
    own: OwnLayer, op: ops.Recurrent, x: Tensor, w: Tensor, r: Tensor, bias: Tensor, states: list[Tensor]
) -> tuple[Tensor, ...]:
    parameters = []
    for d in range(len(op.reversed)):
        for part in (w[d], r[d], *bias[d].chunk(2)):
            gates = part.chunk(len(own.gates))
            parameters.append(torch.cat([gates[place] for place in own.gates]))
    backward, both = op.reversed == (True,), len(op.reversed) == 2
    initial = tuple(states) if len(states) > 1 else states[0]
    # in training, or cuDNN has no gradients; without dropout that is the same function
    y, *finals = own.function(x.flip(0) if backward else x, initial, parameters, True, 1, 0.0, True, both, False)
    y = y.flip(0) if backward else y
    return (y.reshape(*y.shape[:2], len(op.reversed), r.shape[2]).transpose(1, 2), *finals)


def stepwise(
    op: ops.Recurrent, x: Tensor, w: Tensor, r: Tensor, bias: Tensor, states: list[Tensor]
) -> tuple[Tensor, ...]:
    half = bias.shape[1] // 2
    outputs, finals = [], []
    for d, backward in enumerate(op.reversed):
        w_bias, r_bias = bias[d, :half], bias[d, half:]
        late = []
        if isinstance(op, ops.GRU):
            r_bias, after = r_bias.tensor_split([2 * r.shape[2]])
            r_bias, late = F.pad(r_bias, (0, r.shape[2])), [after]
        gates = F.linear(x, w[d], w_bias + r_bias)
        initial = [s[d] for s in states]
        y, last = scan(STEPS[type(op)](op, r[d], late), gates, initial, backward)
        outputs.append(y)
        finals.append(last[: op.states])
    return (torch.stack(outputs, 1), *(torch.stack(state) for state in zip(*finals, strict=True)))


@torch_rule(ops.LstmSequence, ops.GruSequence, ops.RnnSequence)
def sequence(op: ops.RecurrentSequence, gates: Tensor, r: Tensor, *rest: Tensor) -> Tensor:
    initial = list(rest[op.biases :]) or [gates.new_zeros(gates.shape[1], r.shape[1])] * op.states
    y, last = scan(STEPS[type(op)](op, r, rest[: op.biases]), gates, initial, op.reverse)
    return torch.cat([y, last[1][None]]) if op.rows else y
