"""Elementary functions, elementwise on floats."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Sampler, Value
from graphopt.ops.elementary import evaluated
from graphopt.ops.elementwise import Clip, Unary

__all__ = [
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Cos",
    "Cosh",
    "Erf",
    "Floor",
    "Log",
    "Reciprocal",
    "Round",
    "Sign",
    "Sin",
    "Sinh",
    "Tan",
]


def _limited(cls: type[Unary], x: Value, low: float, high: float) -> Value | None:
    """The operator applied to x, clipped to an interval where it is defined and well-conditioned."""
    return cls()(Clip(low=low, high=high)(x)) if x.type.is_float else None


class Ceil(Unary, name="ceil"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.ceil(inputs[0]))


class Floor(Unary, name="floor"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.floor(inputs[0]))


class Round(Unary, name="round"):
    """To the nearest integer, halves to even."""

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.rint(inputs[0]))


class Reciprocal(Unary, name="reciprocal"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(1 / inputs[0])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, 0.25, 100.0)


class Log(Unary, name="log"):
    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("log", np.log, inputs[0])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, 0.25, 100.0)


class Erf(Unary, name="erf"):
    """The error function."""

    def evaluate(self, *inputs: Array) -> Array:
        from scipy.special import erf

        return evaluated("erf", erf, inputs[0])


class Sin(Unary, name="sin"):
    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("sin", np.sin, inputs[0])


class Cos(Unary, name="cos"):
    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("cos", np.cos, inputs[0])


class Tan(Unary, name="tan"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.tan(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, -1.25, 1.25)


class Asin(Unary, name="asin"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.arcsin(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, -0.875, 0.875)


class Acos(Unary, name="acos"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.arccos(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, -0.875, 0.875)


class Atan(Unary, name="atan"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.arctan(inputs[0]))


class Sinh(Unary, name="sinh"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.sinh(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, -4.0, 4.0)


class Cosh(Unary, name="cosh"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.cosh(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, -4.0, 4.0)


class Asinh(Unary, name="asinh"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.arcsinh(inputs[0]))


class Acosh(Unary, name="acosh"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.arccosh(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, 1.5, 100.0)


class Atanh(Unary, name="atanh"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.arctanh(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return _limited(cls, x, -0.875, 0.875)


class Sign(Unary, name="sign"):
    """-1, 0 or 1."""

    integers = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.sign(inputs[0]))
