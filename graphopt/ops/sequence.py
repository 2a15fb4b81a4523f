"""The recurrent half of recurrent layers in one direction, after the product of x and w; ``decompose`` uses it.

Every sequence takes gates [t, n, g*h], the recurrent weights r [g*h, h], and the initial states [n, h] or none. All
biases are already added to the gates, except one that a class may name. It gives the hidden states, [t, n, h], and
rows after them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Value, expect
from graphopt.ops.elementwise import Sigmoid, Tanh
from graphopt.ops.linear import Linear
from graphopt.ops.shape import Transpose

__all__ = ["GruSequence", "LstmSequence", "RecurrentSequence", "RnnSequence"]


def tanh(x: Array) -> Array:
    return Tanh().evaluate(x)


def squash(activation: str, x: Array) -> Array:
    """The activation of an RNN."""
    return np.asarray(tanh(x) if activation == "tanh" else np.maximum(x, 0))


def state_macs(gates: TensorType, weight: TensorType) -> int:
    """The multiply-accumulates of the states alone: gates [t, n, ...] by weight [rows, h], at each step."""
    steps, n = gates.static_shape[:2]
    return steps * n * math.prod(weight.static_shape)


class RecurrentSequence(Op):
    """A layer in one direction; ``rows`` is the number of rows after the hidden states."""

    reverse: bool = False

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    biases: ClassVar[int] = 0

    @property
    def rows(self) -> int:
        return 0

    def infer(self, *inputs: TensorType) -> TensorType:
        gates, r, *rest = inputs
        expect(gates.rank == 3 and r.rank == 2 and gates.is_float, f"{self.name} of {gates} by {r}")
        steps, n, width = gates.shape
        hidden = r.static_shape[1]
        expect(isinstance(steps, int) and steps > 0, f"{self.name} over {steps} steps")
        expect(width == self.gates * hidden, f"{self.name} of {gates} by {r}")
        expect(r == gates.with_shape((width, hidden)), f"{self.name} of {gates} by {r}")
        bias, states = rest[: self.biases], rest[self.biases :]
        expect(bias == [gates.with_shape((hidden,))] * self.biases, f"{self.name} with biases {bias}")
        expect(len(states) in (0, self.states), f"{self.name} with {len(states)} initial states")
        expect(all(s == gates.with_shape((n, hidden)) for s in states), f"{self.name} from {states}")
        return gates.with_shape((steps + self.rows, n, hidden))

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return state_macs(inputs[0], inputs[1])

    def evaluate(self, *inputs: Array) -> Array:
        gates, r, *rest = inputs
        steps, n, _ = gates.shape
        y = np.zeros((steps + self.rows, n, r.shape[1]), gates.dtype)
        states = rest[self.biases :] or [np.zeros_like(y[0])] * self.states
        for t in reversed(range(steps)) if self.reverse else range(steps):
            states = self.step(gates[t], r, rest[: self.biases], states)
            y[t] = states[0]
            if self.rows:
                y[steps] = states[1]
        return y

    def step(self, gates: Array, r: Array, biases: list[Array], states: list[Array]) -> list[Array]:
        """The next states, then the other contents of the rows after the hidden states."""
        raise NotImplementedError

    @classmethod
    def draw(cls, draw: Sampler, x: Value, **settings: Any) -> Value | None:
        """Apply the sequence to the transpose of x [n, t, i], made wide enough, and transpose its result back."""
        if x.type.rank != 3 or not x.type.is_float or 0 in x.type.shape:
            return None
        n, _, size = x.type.shape
        if not isinstance(size, int):
            return None
        hidden = draw.integer(1, 3)
        rows = cls.gates * hidden
        wide = Linear()(Transpose(perm=(1, 0, 2))(x), draw.weights(rows, size), draw.weights(rows))
        biases = [draw.weights(hidden) for _ in range(cls.biases)]
        given = cls.states if draw.choice([False, True]) else 0
        states = [draw.value(x.type.with_shape((n, hidden))) for _ in range(given)]
        op = cls(reverse=draw.choice([False, True]), **settings)
        return Transpose(perm=(1, 0, 2))(op(wide, draw.weights(rows, hidden), *biases, *states))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x)


class LstmSequence(RecurrentSequence, name="lstm_sequence"):
    """An LSTM of gates i, o, f, c and states h and c; the row after the hidden states is the last cell state."""

    gates = 4
    states = 2

    @property
    def rows(self) -> int:
        return 1

    def step(self, gates: Array, r: Array, biases: list[Array], states: list[Array]) -> list[Array]:
        h, c = states
        i, o, f, g = np.split(gates + h @ r.T, 4, axis=1)
        sigmoid = Sigmoid().evaluate
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return [sigmoid(o) * tanh(c), c]


class GruSequence(RecurrentSequence, name="gru_sequence"):
    """A GRU of gates z, r, h; the operand after r is the recurrent bias [h] of gate h.

    Unless ``linear_before_reset``, the row after the hidden states is the last r * h, scratch space of the kernel.
    """

    linear_before_reset: bool = False

    gates = 3
    biases = 1

    @property
    def rows(self) -> int:
        return 0 if self.linear_before_reset else 1

    def step(self, gates: Array, r: Array, biases: list[Array], states: list[Array]) -> list[Array]:
        h, (bias,), size = states[0], biases, r.shape[1]
        z, reset = np.split(Sigmoid().evaluate(gates[:, : 2 * size] + h @ r[: 2 * size].T), 2, axis=1)
        inner = (
            reset * (h @ r[2 * size :].T + bias) if self.linear_before_reset else (reset * h) @ r[2 * size :].T + bias
        )
        return [(1 - z) * tanh(gates[:, 2 * size :] + inner) + z * h, reset * h]

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x, linear_before_reset=draw.choice([False, True]))


class RnnSequence(RecurrentSequence, name="rnn_sequence"):
    """h = activation(gates + h r'); the activation is tanh or relu."""

    activation: str = "tanh"

    gates = 1

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(self.activation in ("tanh", "relu"), f"unknown activation {self.activation!r}")
        return super().infer(*inputs)

    def step(self, gates: Array, r: Array, biases: list[Array], states: list[Array]) -> list[Array]:
        return [squash(self.activation, gates + states[0] @ r.T)]

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x, activation=draw.choice(["tanh", "relu"]))
