"""Recurrent layers, as in ONNX with layout 0: x [time, n, input], gates in ONNX's order, always with biases.

Each direction of a layer decomposes into one ``linear`` over all steps and a *sequence*, an operator for the recurrent
half of the work, in which each step needs the step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Value, constant, expect
from graphopt.ops.elementwise import Add, Sigmoid
from graphopt.ops.linear import Linear
from graphopt.ops.sequence import GruSequence, LstmSequence, RnnSequence, squash, tanh
from graphopt.ops.shape import Concat, Reshape, Slice, Transpose

__all__ = ["DIRECTIONS", "GRU", "LSTM", "RNN", "Recurrent"]

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""For each direction of a layer, whether it runs from the last step to the first."""


class Recurrent(Op):
    """A recurrent layer: x [t, n, i], w [d, g*h, i], r [d, g*h, h], bias [d, 2*g*h] (of w, then of r), initial states.

    g is the number of gates, d that of directions. The initial states, [d, n, h] each, are all given or all left out,
    which means zero. Gives y [t, d, n, h], then the last of each state, [d, n, h].
    """

    direction: str = "forward"

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    @property
    def reversed(self) -> tuple[bool, ...]:
        return DIRECTIONS[self.direction]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, w, r, bias, *states = inputs
        expect(self.direction in DIRECTIONS, f"unknown direction {self.direction!r}")
        expect(x.rank == w.rank == r.rank == 3 and x.is_float, f"{self.name} of {x} by {w} and {r}")
        d, (steps, n, size), hidden = len(self.reversed), x.shape, r.static_shape[2]
        expect(isinstance(steps, int) and steps > 0, f"{self.name} over {steps} steps")
        rows = self.gates * hidden
        expect(w == x.with_shape((d, rows, size)), f"{self.name} of {x} by {w}, {d * rows} rows of {size} expected")
        expect(r == x.with_shape((d, rows, hidden)), f"{self.name}: {r} is not [{d}, {rows}, {hidden}]")
        expect(bias == x.with_shape((d, 2 * rows)), f"{self.name}: the bias {bias} is not [{d}, {2 * rows}]")
        state = x.with_shape((d, n, hidden))
        expect(len(states) in (0, self.states), f"{self.name} with {len(states)} initial states")
        expect(all(s == state for s in states), f"{self.name}: initial states of another type than {state}")
        return (x.with_shape((steps, d, n, hidden)), *[state] * self.states)

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        """Both products of every gate, at each step."""
        steps, n, size = inputs[0].static_shape
        directions, rows, hidden = inputs[2].static_shape
        return steps * n * directions * rows * (size + hidden)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        x, w, r, bias, *states = inputs
        zero, half = np.zeros((x.shape[1], r.shape[2]), x.dtype), bias.shape[1] // 2
        outputs, finals = [], []
        for d, backward in enumerate(self.reversed):
            state = [s[d] for s in states] or [zero] * self.states
            steps = []
            for x_t in x[::-1] if backward else x:
                state = self.step(x_t @ w[d].T, r[d], bias[d, :half], bias[d, half:], state)
                steps.append(state[0])
            outputs.append(np.stack(steps[::-1] if backward else steps))
            finals.append(state)
        return (np.stack(outputs, axis=1), *(np.stack(state) for state in zip(*finals, strict=True)))

    def step(self, x: Array, r: Array, w_bias: Array, r_bias: Array, state: list[Array]) -> list[Array]:
        """The next states; ``x`` has been multiplied with w."""
        raise NotImplementedError

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        x, w, r, bias, *states = inputs
        steps, n, size = x.type.shape
        assert isinstance(steps, int)
        flat = Reshape(shape=(steps * n, size))(x)
        sequences = []
        for d, backward in enumerate(self.reversed):
            weight, recurrent, biases, *initial = (pick(v, d) for v in (w, r, bias, *states))
            fixed, extra = self.biases(biases)
            gates = Reshape(shape=(steps, n, w.type.shape[1]))(Linear()(flat, weight, fixed))
            sequences.append(self.sequence(backward)(gates, recurrent, *extra, *initial))
        return self.assembled(sequences, steps)

    def assembled(self, sequences: list[Value], steps: int) -> tuple[Value, ...]:
        """The results of the layer from the results of its sequences, [steps + rows, n, h] for each direction."""
        outputs, finals = [], []
        for sequence, backward in zip(sequences, self.reversed, strict=True):
            height, n, hidden = sequence.type.shape
            rows = Reshape(shape=(height, n * hidden))(sequence)
            outputs.append(Reshape(shape=(steps, 1, n, hidden))(section(rows, 0, 0, steps)))
            picked = [0 if backward else steps - 1, steps][: self.states]
            finals.append([Reshape(shape=(1, n, hidden))(section(rows, 0, p, p + 1)) for p in picked])
        return (joined(outputs, 1), *(joined(state, 0) for state in zip(*finals, strict=True)))

    def sequence(self, reverse: bool) -> Op:
        """The operator of one direction, without the product of x and w."""
        raise NotImplementedError

    def biases(self, bias: Value) -> tuple[Value, tuple[Value, ...]]:
        """The bias [2*g*h] of a direction in two parts: added to the gates of all steps, and added by the sequence."""
        return folded(Add(), *halves(bias)), ()

    @classmethod
    def draw(cls, draw: Sampler, x: Value, **settings: Any) -> Value | None:
        """Apply the layer to the transpose of x [n, t, i], and transpose one of its results back."""
        if x.type.rank != 3 or not x.type.is_float:
            return None
        direction = draw.choice(list(DIRECTIONS))
        d, hidden = len(DIRECTIONS[direction]), draw.integer(1, 3)
        n, _, size = x.type.shape
        rows = cls.gates * hidden
        if not isinstance(size, int) or 0 in x.type.shape:
            return None
        weights = draw.weights(d, rows, size), draw.weights(d, rows, hidden), draw.weights(d, 2 * rows)
        given = cls.states if draw.choice([False, True]) else 0
        states = [Transpose(perm=(1, 0, 2))(draw.value(x.type.with_shape((n, d, hidden)))) for _ in range(given)]
        op = cls(direction=direction, **settings)
        y, *finals = op.apply(Transpose(perm=(1, 0, 2))(x), *weights, *states).results
        return draw.choice([Transpose(perm=(2, 0, 1, 3))(y), *(Transpose(perm=(1, 0, 2))(f) for f in finals)])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x)


def folded(op: Op, *inputs: Value) -> Value:
    """The operator applied; computed now if its operands are constants."""
    arrays = [v.constant for v in inputs]
    known = [a for a in arrays if a is not None]
    if len(known) < len(arrays):
        return op(*inputs)
    result = op.evaluate(*known)
    assert not isinstance(result, tuple)
    return constant(result, like=inputs[0])


def section(x: Value, axis: int, start: int, stop: int) -> Value:
    if (start, stop) == (0, x.type.shape[axis]):
        return x
    return folded(Slice(axis=axis, start=start, stop=stop), x)


def pick(x: Value, index: int) -> Value:
    """x[index]."""
    return folded(Reshape(shape=x.type.shape[1:]), section(x, 0, index, index + 1))


def halves(bias: Value) -> tuple[Value, Value]:
    """The bias of w and that of r."""
    half = bias.type.static_shape[0] // 2
    return section(bias, 0, 0, half), section(bias, 0, half, 2 * half)


def joined(parts: list[Value] | tuple[Value, ...], axis: int) -> Value:
    return parts[0] if len(parts) == 1 else Concat(axis=axis)(*parts)


class LSTM(Recurrent, name="lstm"):
    """ONNX LSTM without peepholes: gates i, o, f, c; states h and c.

    i, o, f = sigmoid(x w' + h r' + biases), c = f * c + i * tanh(...), h = o * tanh(c).
    """

    gates = 4
    states = 2

    def step(self, x: Array, r: Array, w_bias: Array, r_bias: Array, state: list[Array]) -> list[Array]:
        h, c = state
        i, o, f, g = np.split(x + h @ r.T + w_bias + r_bias, 4, axis=1)
        sigmoid = Sigmoid().evaluate
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return [sigmoid(o) * tanh(c), c]

    def sequence(self, reverse: bool) -> Op:
        return LstmSequence(reverse=reverse)


class GRU(Recurrent, name="gru"):
    """ONNX GRU: gates z, r, h.

    z, r = sigmoid(x w' + h r' + biases), h = (1 - z) * g + z * h, with g = tanh(x w' + w_bias + (r * h) r' + r_bias),
    or, if ``linear_before_reset``, as in torch, g = tanh(x w' + w_bias + r * (h r' + r_bias)).
    """

    linear_before_reset: bool = False

    gates = 3

    def step(self, x: Array, r: Array, w_bias: Array, r_bias: Array, state: list[Array]) -> list[Array]:
        (h,) = state
        size = h.shape[1]
        gates = x + w_bias
        recurrent = h @ r[: 2 * size].T + r_bias[: 2 * size]
        z, reset = np.split(Sigmoid().evaluate(gates[:, : 2 * size] + recurrent), 2, axis=1)
        if self.linear_before_reset:
            inner = reset * (h @ r[2 * size :].T + r_bias[2 * size :])
        else:
            inner = (reset * h) @ r[2 * size :].T + r_bias[2 * size :]
        return [(1 - z) * tanh(gates[:, 2 * size :] + inner) + z * h]

    def sequence(self, reverse: bool) -> Op:
        return GruSequence(reverse=reverse, linear_before_reset=self.linear_before_reset)

    def biases(self, bias: Value) -> tuple[Value, tuple[Value, ...]]:
        w_bias, r_bias = halves(bias)
        hidden = r_bias.type.static_shape[0] // 3
        early, late = section(r_bias, 0, 0, 2 * hidden), section(r_bias, 0, 2 * hidden, 3 * hidden)
        nothing = constant(np.zeros(hidden, w_bias.type.dtype))
        return folded(Add(), w_bias, folded(Concat(axis=0), early, nothing)), (late,)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x, linear_before_reset=draw.choice([False, True]))


class RNN(Recurrent, name="rnn"):
    """ONNX RNN: h = activation(x w' + h r' + biases), the activation tanh or relu."""

    activation: str = "tanh"

    gates = 1

    def step(self, x: Array, r: Array, w_bias: Array, r_bias: Array, state: list[Array]) -> list[Array]:
        return [squash(self.activation, x + state[0] @ r.T + w_bias + r_bias)]

    def sequence(self, reverse: bool) -> Op:
        return RnnSequence(reverse=reverse, activation=self.activation)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x, activation=draw.choice(["tanh", "relu"]))
