"""The integer forms of recurrent sequences: int8 weights, an int16 state, and an int8 copy of it for the products.

Numbers are integers in fixed point; Qi.f stands for integer / 2^f:

- gates x, int16 Q3.12: the products of the layer's inputs, with all biases but one added;
- the hidden state h, int16 Q0.15, and its copy for the products, narrow(h) = min(round(h, 8), 127), Q0.7;
- the cell state of an LSTM, int16 with ``cell`` bits of fraction.

>> rounds down, round(a, s) = (a + 2^(s-1)) >> s, and sat(a) is the nearest int16. An accumulator a, int32, is the
product of a row of r and a narrow state, plus a bias. The multiplier m and shift s of its row rescale it to Q3.12:
sat(round(a * m, s)), evaluated in int64. The functions

    sigmoid, tanh: f(p) = T[i] + round((T[i + 1] - T[i]) * (u mod 2^7), 7), u = p + 2^15, i = u >> 7

use a table T of 513 int16 in Q0.15 with linear interpolation (``function_table``). All else fits int32 if the
accumulators do; ``overflowing`` proves that from the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, ClassVar, TypeVar

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Value, constant, expect
from graphopt.ops import integer_steps as by
from graphopt.ops.elementwise import Clip, Mul
from graphopt.ops.logic import Cast
from graphopt.ops.quantized import Quantize
from graphopt.ops.recurrent import section
from graphopt.ops.sequence import state_macs
from graphopt.ops.shape import Concat, Reshape, Transpose

__all__ = [
    "GruSequenceInteger",
    "IntegerSequence",
    "LstmSequenceInteger",
    "RnnSequenceInteger",
    "sigmoid_table",
    "tanh_table",
]

T = TypeVar("T")

GATE_BITS = 12
"""The bits of fraction of gates."""
STATE_BITS = 15
"""The bits of fraction of hidden states and of table entries."""
COPY_BITS = 7
"""The bits of fraction of the copy of the hidden state for the products."""
ENTRY_BITS = 7
"""The bits of a gate between two entries of a table."""
ENTRIES = (1 << 16 >> ENTRY_BITS) + 1


def function_table(function: Callable[[Array], Array]) -> Array:
    """The table of a function with values in [-1, 1] at every 2^-5 of [-8, 8]: computed in float64, int16 Q0.15."""
    x = np.linspace(-8.0, 8.0, ENTRIES)
    return np.clip(np.rint(function(x) * 2.0**STATE_BITS), 1 - (1 << 15), (1 << 15) - 1).astype("int16")


def sigmoid_table() -> Array:
    return function_table(lambda x: 1 / (1 + np.exp(-x)))


def tanh_table() -> Array:
    return function_table(np.tanh)


def rounded(x: Array, shift: int) -> Array:
    """x / 2^shift, halves up."""
    return np.asarray((x + (1 << (shift - 1))) >> shift)


def saturated(x: Array) -> Array:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def narrowed(h: Array) -> Array:
    """A hidden state in 8 bits: narrow(h)."""
    return np.minimum(rounded(h, STATE_BITS - COPY_BITS), 127)


def interpolated(table: Array, x: Array) -> Array:
    """The function of a table at the gates x."""
    entry, part = (x + (1 << 15)) >> ENTRY_BITS, (x + (1 << 15)) & ((1 << ENTRY_BITS) - 1)
    low, high = table[entry], table[entry + 1]
    return np.asarray(low + rounded((high - low) * part, ENTRY_BITS))


class IntegerStep:
    """The operands of one step, all in int64; ``project`` multiplies a state by rows of r."""

    def __init__(self, r: Array, scales: list[Array], tables: list[Array]) -> None:
        # float64 holds the products of 8-bit numbers exactly, and multiplies by BLAS
        self.r, (self.multiplier, self.shift) = r.astype(np.float64), scales
        self.sigmoid, self.tanh = tables[0], tables[-1]

    def project(self, copy: Array, rows: slice, bias: Array | int = 0) -> Array:
        acc = (copy.astype(np.float64) @ self.r[rows].T).astype(np.int64) + bias
        shift = self.shift[rows]
        return saturated((acc * self.multiplier[rows] + (np.int64(1) << (shift - 1))) >> shift)


class IntegerSequence(Op):
    """A quantized layer in one direction, after the products of its inputs.

    Operands: gates int16 [t, n, g*h] in Q3.12; r int8 [g*h, h]; multiplier and shift, int32 [g*h], 1 <= shift <= 62;
    the tables, int16 [513]; biases int32 [h], in units of the accumulator; the initial states, int16 [n, h], all or
    none. Gives int16 [t + rows, n, h]: the hidden states, then scratch rows for the kernel, the last of which
    is narrow(h) of the last step.
    """

    reverse: bool = False

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    biases: ClassVar[int] = 0
    tables: ClassVar[int] = 2

    @property
    def rows(self) -> int:
        return 1

    def split(self, operands: Sequence[T]) -> tuple[list[T], list[T], list[T], list[T]]:
        """The operands after the weights: multiplier and shift, tables, biases, initial states."""
        ends = list(accumulate((2, 2, self.tables, self.biases)))
        parts = zip(ends, [*ends[1:], len(operands)], strict=True)
        scales, tables, biases, states = (list(operands[start:stop]) for start, stop in parts)
        return scales, tables, biases, states

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(len(inputs) >= 4 + self.tables + self.biases, f"{self.name} of {len(inputs)} operands")
        gates, r = inputs[:2]
        scales, tables, biases, states = self.split(inputs)
        expect(gates.rank == 3 and gates.dtype == "int16", f"{self.name} of {gates}")
        expect(r.rank == 2 and r.dtype == "int8", f"{self.name} by {r}")
        (steps, n, width), hidden = gates.shape, r.static_shape[1]
        expect(isinstance(steps, int) and steps > 0, f"{self.name} over {steps} steps")
        expect(width == r.shape[0] == self.gates * hidden, f"{self.name} of {gates} by {r}")
        row = TensorType("int32", (width,))
        expect(scales == [row] * 2, f"{self.name}: multiplier and shift {scales} are not {row}")
        table = TensorType("int16", (ENTRIES,))
        expect(tables == [table] * self.tables, f"{self.name} with tables {tables}")
        expect(biases == [TensorType("int32", (hidden,))] * self.biases, f"{self.name} with biases {biases}")
        expect(len(states) in (0, self.states), f"{self.name} with {len(states)} initial states")
        expect(all(s == gates.with_shape((n, hidden)) for s in states), f"{self.name} from {states}")
        return gates.with_shape((steps + self.rows, n, hidden))

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return state_macs(inputs[0], inputs[1])

    def evaluate(self, *inputs: Array) -> Array:
        wide = [a.astype(np.int64) for a in inputs]
        gates, r = wide[:2]
        scales, tables, biases, states = self.split(wide)
        steps, n, _ = gates.shape
        y = np.zeros((steps + self.rows, n, r.shape[1]), np.int16)
        states = states or [np.zeros((n, r.shape[1]), np.int64)] * self.states
        step = IntegerStep(r, scales, tables)
        for t in reversed(range(steps)) if self.reverse else range(steps):
            states, behind = self.step(step, gates[t], biases, states)
            y[t], y[steps:] = states[0], [*behind, narrowed(states[0])]
        return y

    def step(
        self, step: IntegerStep, gates: Array, biases: list[Array], states: list[Array]
    ) -> tuple[list[Array], list[Array]]:
        """The next states, and the rows after the hidden states, without the last."""
        raise NotImplementedError

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        """Step by step, by the operators of ``integer_steps``."""
        gates, r = inputs[:2]
        scales, tables, biases, states = self.split(inputs)
        steps, n, hidden = gates.type.shape[0], gates.type.shape[1], r.type.static_shape[1]
        assert isinstance(steps, int)
        if not states:
            # of gates, so that there are as many samples as there
            first = Reshape(shape=(n, hidden))(section(section(gates, 0, 0, 1), 2, 0, hidden))
            states = [Cast(to="int16")(Mul()(Cast(to="int32")(first), by.number(0)))] * self.states
        parts = by.StepOperands(gates, r, scales, tables, hidden)
        order = range(steps)[::-1] if self.reverse else range(steps)
        return (by.unrolled(order, states, lambda t, states: self.parts(parts, t, biases, states)),)

    def parts(
        self, parts: by.StepOperands, t: int, biases: list[Value], states: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        """The results of ``step``, by other operators."""
        raise NotImplementedError

    @classmethod
    def draw(cls, draw: Sampler, x: Value, **settings: Any) -> Value | None:
        """Apply the sequence to x [n, t, h] in Q3.12, turned around and used for every gate, and turn its result."""
        if x.type.rank != 3 or not x.type.is_float or 0 in x.type.shape:
            return None
        n, _, hidden = x.type.shape
        if not isinstance(hidden, int):
            return None
        rows = cls.gates * hidden
        rng = np.random.default_rng(draw.integer(0, 99))
        q = Transpose(perm=(1, 0, 2))(fixed(x, draw.choice([1.0, 16.0]) * 2.0**-GATE_BITS))
        tables = [constant(t) for t in (sigmoid_table(), tanh_table())[-cls.tables :]]
        biases = [constant(rng.integers(-5000, 5000, hidden).astype("int32")) for _ in range(cls.biases)]
        given = cls.states if draw.choice([False, True]) else 0
        states = [fixed(draw.value(x.type.with_shape((n, hidden))), 2.0**-STATE_BITS) for _ in range(given)]
        op = cls(reverse=draw.choice([False, True]), **settings)
        y = op(
            Concat(axis=2)(*[q] * cls.gates),
            constant(rng.integers(-127, 128, (rows, hidden)).astype("int8")),
            constant(rng.integers(1 << 30, 1 << 31, rows, dtype=np.int64).astype("int32")),
            constant(rng.integers(28, 36, rows).astype("int32")),
            *tables,
            *biases,
            *states,
        )
        return Transpose(perm=(1, 0, 2))(y)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x)


def fixed(x: Value, scale: float) -> Value:
    """A float value as int16 of some scale, saturated."""
    return Quantize()(x, constant(np.asarray(scale, x.type.dtype)), constant(np.asarray(0, "int16")))


class LstmSequenceInteger(IntegerSequence, name="lstm_sequence_integer"):
    """The integer form of lstm_sequence: gates i, o, f, c; the row after the hidden states is the last cell state.

    With p = sat(x + rescaled products) of each gate, i, o, f = sigmoid(p), g = tanh(p),
    c = sat(round(f * c + (i * g >> 15 - cell), 15)), h = round(o * tanh(sat(c * 2^(12 - cell))), 15).
    """

    cell: int = GATE_BITS

    gates = 4
    states = 2

    @property
    def rows(self) -> int:
        return 2

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(0 <= self.cell <= GATE_BITS, f"{self.cell} bits of fraction of a cell: 0 to {GATE_BITS}")
        return super().infer(*inputs)

    def step(
        self, step: IntegerStep, gates: Array, biases: list[Array], states: list[Array]
    ) -> tuple[list[Array], list[Array]]:
        h, c = states
        i, o, f, g = np.split(saturated(gates + step.project(narrowed(h), slice(None))), 4, axis=1)
        i, o, f = (interpolated(step.sigmoid, p) for p in (i, o, f))
        new = (i * interpolated(step.tanh, g)) >> (STATE_BITS - self.cell)
        c = saturated(rounded(f * c + new, STATE_BITS))
        squashed = interpolated(step.tanh, saturated(c * (1 << (GATE_BITS - self.cell))))
        return [rounded(o * squashed, STATE_BITS), c], [c]

    def parts(
        self, parts: by.StepOperands, t: int, biases: list[Value], states: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        copy, c = by.narrowed(states[0]), states[1]
        i, o, f, g = (parts.activated(t, gate, parts.product(copy, gate), int(gate == 3)) for gate in range(4))
        c = by.cell_state(f, c, i, g, self.cell)
        widened = Clip(low=by.LOW, high=by.HIGH)(Mul()(by.wide(c), by.number(1 << (GATE_BITS - self.cell))))
        return [by.times(o, by.interpolated(parts.tables[1], widened)), c], [c]

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x, cell=draw.integer(0, GATE_BITS))


class GruSequenceInteger(IntegerSequence, name="gru_sequence_integer"):
    """The integer form of gru_sequence: gates z, r, h; the bias belongs to the accumulator of the last.

    z, r = sigmoid(sat(x + rescaled products)), h = g + round(z * (h - g), 15), with g = tanh(sat(x + p)), where
    p is the rescaled product of narrow(round(r * h, 15)) or, if ``linear_before_reset``, round(r * (rescaled product
    of narrow(h)), 15). Without ``linear_before_reset``, the row after the hidden states is the last
    narrow(round(r * h, 15)).
    """

    linear_before_reset: bool = False

    gates = 3
    biases = 1

    @property
    def rows(self) -> int:
        return 1 if self.linear_before_reset else 2

    def step(
        self, step: IntegerStep, gates: Array, biases: list[Array], states: list[Array]
    ) -> tuple[list[Array], list[Array]]:
        (h,), (bias,), size = states, biases, states[0].shape[1]
        early, late, copy = slice(0, 2 * size), slice(2 * size, 3 * size), narrowed(h)
        z, reset = np.split(interpolated(step.sigmoid, saturated(gates[:, early] + step.project(copy, early))), 2, 1)
        behind = []
        if self.linear_before_reset:
            inner = rounded(reset * step.project(copy, late, bias), STATE_BITS)
        else:
            behind = [narrowed(rounded(reset * h, STATE_BITS))]
            inner = step.project(behind[0], late, bias)
        g = interpolated(step.tanh, saturated(gates[:, late] + inner))
        return [g + rounded(z * (h - g), STATE_BITS)], behind

    def parts(
        self, parts: by.StepOperands, t: int, biases: list[Value], states: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        (h,), (bias,), copy = states, biases, by.narrowed(states[0])
        z, reset = (parts.activated(t, gate, parts.product(copy, gate)) for gate in (0, 1))
        if self.linear_before_reset:
            return [by.mixed(z, parts.activated(t, 2, by.times(reset, parts.product(copy, 2, bias)), 1), h)], []
        behind = by.narrowed(by.times(reset, h))
        return [by.mixed(z, parts.activated(t, 2, parts.product(behind, 2, bias), 1), h)], [behind]

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls.draw(draw, x, linear_before_reset=draw.choice([False, True]))


class RnnSequenceInteger(IntegerSequence, name="rnn_sequence_integer"):
    """The integer form of rnn_sequence with tanh: h = tanh(sat(x + rescaled products))."""

    gates = 1
    tables = 1

    def step(
        self, step: IntegerStep, gates: Array, biases: list[Array], states: list[Array]
    ) -> tuple[list[Array], list[Array]]:
        return [interpolated(step.tanh, saturated(gates + step.project(narrowed(states[0]), slice(None))))], []

    def parts(
        self, parts: by.StepOperands, t: int, biases: list[Value], states: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        return [parts.activated(t, 0, parts.product(by.narrowed(states[0]), 0))], []
