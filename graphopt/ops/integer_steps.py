"""The steps of integer recurrent sequences by other integer operators, for exporters.

Every rounding is a ``requantize`` by 1 / 2^s of an exact sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Value, constant
from graphopt.ops.elementwise import Add, Clip, Div, Mul, Sub
from graphopt.ops.indexing import Gather
from graphopt.ops.integer import LinearInteger
from graphopt.ops.logic import Cast
from graphopt.ops.recurrent import section
from graphopt.ops.requantize import Requantize
from graphopt.ops.shape import Concat, Reshape

LOW, HIGH = -(1 << 15), (1 << 15) - 1


def number(value: int, dtype: str = "int32") -> Value:
    return constant(np.asarray(value, dtype))


def wide(x: Value, dtype: str = "int32") -> Value:
    return Cast(to=dtype)(x)


def rescaled(acc: Value, multiplier: Value, shift: Value) -> Value:
    """sat(round(acc * m, s)) as int16."""
    return Requantize(low=LOW, high=HIGH, to="int16")(acc, multiplier, shift)


def rounded(acc: Value, shift: int) -> Value:
    return rescaled(acc, number(1), number(shift))


def narrowed(h: Value) -> Value:
    """narrow(h), int8."""
    return Requantize()(wide(h), number(1), number(8))


def plus(x: Value, y: Value) -> Value:
    """sat(x + y), in int32."""
    return Clip(low=LOW, high=HIGH)(Add()(wide(x), wide(y)))


def times(a: Value, b: Value) -> Value:
    """round(a * b, 15)."""
    return rounded(Mul()(wide(a), wide(b)), 15)


def interpolated(table: Value, p: Value) -> Value:
    """The function of a table at p, int32: round(2^7 T[i] + (T[i + 1] - T[i]) * (u mod 2^7), 7)."""
    u = Add()(p, number(1 << 15))
    i = Div()(u, number(1 << 7))
    part = Sub()(u, Mul()(i, number(1 << 7)))
    low, high = (wide(Gather(axis=0)(table, j)) for j in (i, Add()(i, number(1))))
    return rounded(Add()(Mul()(low, number(1 << 7)), Mul()(Sub()(high, low), part)), 7)


def mixed(z: Value, g: Value, h: Value) -> Value:
    """g + round(z * (h - g), 15)."""
    z, g, h = wide(z), wide(g), wide(h)
    return rounded(Add()(Mul()(g, number(1 << 15)), Mul()(z, Sub()(h, g))), 15)


def cell_state(f: Value, c: Value, i: Value, g: Value, bits: int) -> Value:
    """sat(round(f * c + (i * g >> 15 - bits), 15)), as one rounding of 64 bits."""
    f, c, i, g = (wide(v, "int64") for v in (f, c, i, g))
    kept = Mul()(Mul()(f, c), number(1 << (15 - bits), "int64"))
    return rounded(Add()(kept, Mul()(i, g)), 30 - bits)


@dataclass(frozen=True)
class StepOperands:
    """The operands of a sequence of ``hidden`` channels."""

    gates: Value
    r: Value
    scales: Sequence[Value]
    tables: Sequence[Value]
    hidden: int

    def x(self, t: int, gate: int) -> Value:
        """The contribution of the inputs to a gate at a step: [n, h]."""
        channels = section(self.gates, 2, gate * self.hidden, (gate + 1) * self.hidden)
        return Reshape(shape=channels.type.shape[1:])(section(channels, 0, t, t + 1))

    def product(self, copy: Value, gate: int, bias: Value | None = None) -> Value:
        """The product of a narrow state and the rows of a gate, in units of gates."""
        rows = (0, gate * self.hidden, (gate + 1) * self.hidden)
        acc = LinearInteger()(copy, section(self.r, *rows), bias or constant(np.zeros(self.hidden, "int32")))
        return rescaled(acc, *(section(s, *rows) for s in self.scales))

    def activated(self, t: int, gate: int, product: Value, table: int = 0) -> Value:
        return interpolated(self.tables[table], plus(self.x(t, gate), product))


StepRule = Callable[[int, list[Value]], tuple[list[Value], list[Value]]]


def unrolled(steps: Sequence[int], states: list[Value], step: StepRule) -> Value:
    """The result of a sequence: hidden states in order, then the other rows, then narrow(h)."""
    made: dict[int, Value] = {}
    behind: list[Value] = []
    for t in steps:
        states, behind = step(t, states)
        made[t] = states[0]
    rows = [*(made[t] for t in sorted(made)), *behind, wide(narrowed(states[0]), "int16")]
    return Concat(axis=0)(*(Reshape(shape=(1, *v.type.shape))(wide(v, "int16")) for v in rows))
