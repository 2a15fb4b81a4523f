"""Less common activations, elementwise on floats."""

from __future__ import annotations

import math

import numpy as np

from graphopt.ir import Array, Sampler, TensorType, Value, expect
from graphopt.ops.elementary import evaluated
from graphopt.ops.elementwise import Binary, Sigmoid, Unary
from graphopt.ops.math import Erf

__all__ = ["Celu", "Elu", "Gelu", "Mish", "PRelu", "Selu", "Shrink", "Softplus", "Softsign", "Swish", "ThresholdedRelu"]


class Elu(Unary, name="elu"):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        below = evaluated("expm1", np.expm1, np.minimum(x, 0))
        return np.asarray(np.where(x > 0, x, x.dtype.type(self.alpha) * below), x.dtype)


class Selu(Unary, name="selu"):
    """gamma * elu(x)."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0].dtype.type(self.gamma) * Elu(alpha=self.alpha).evaluate(*inputs))


class Celu(Unary, name="celu"):
    """x where x > 0, else alpha * (exp(x / alpha) - 1)."""

    alpha: float = 1.0

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        alpha = x.dtype.type(self.alpha)
        below = evaluated("expm1", np.expm1, np.minimum(x, 0) / alpha)
        return np.asarray(np.where(x > 0, x, alpha * below), x.dtype)


class Softplus(Unary, name="softplus"):
    """log(1 + exp(x)), computed without overflow."""

    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("softplus", lambda x: np.logaddexp(x, 0), inputs[0])


class Softsign(Unary, name="softsign"):
    """x / (1 + |x|)."""

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0] / (1 + np.abs(inputs[0])))


def exact_gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + Erf().evaluate(x * math.sqrt(0.5))))


def approximate_gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


class Gelu(Unary, name="gelu"):
    """x * Phi(x), or with ``tanh`` its approximation (Hendrycks and Gimpel, 2016)."""

    tanh: bool = False

    def evaluate(self, *inputs: Array) -> Array:
        name, exact = ("tanh_gelu", approximate_gelu) if self.tanh else ("gelu", exact_gelu)
        return evaluated(name, exact, inputs[0])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls(tanh=draw.choice([False, True]))(x) if x.type.is_float else None


class Mish(Unary, name="mish"):
    """x * tanh(softplus(x))."""

    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("mish", lambda x: x * np.tanh(np.logaddexp(x, 0)), inputs[0])


class ThresholdedRelu(Unary, name="thresholded_relu"):
    """x where x > alpha, else 0."""

    alpha: float = 1.0

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.asarray(np.where(x > self.alpha, x, 0), x.dtype)


class Shrink(Unary, name="shrink"):
    """x + bias below -lambd, x - bias above lambd, else 0."""

    bias: float = 0.0
    lambd: float = 0.5

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        bias = x.dtype.type(self.bias)
        return np.asarray(np.where(x < -self.lambd, x + bias, np.where(x > self.lambd, x - bias, 0)), x.dtype)


class PRelu(Binary, name="prelu"):
    """x where x >= 0, else slope * x; the slope broadcasts to x."""

    def infer(self, *inputs: TensorType) -> TensorType:
        y = super().infer(*inputs)
        expect(y.shape == inputs[0].shape, f"the slope {inputs[1]} must broadcast to {inputs[0]}")
        return y

    def evaluate(self, *inputs: Array) -> Array:
        x, slope = inputs
        return np.asarray(np.where(x < 0, slope * x, x), x.dtype)


class Swish(Unary, name="swish"):
    """x * sigmoid(alpha * x); with alpha 1 it is silu."""

    alpha: float = 1.0

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.asarray(x * Sigmoid().evaluate(x.dtype.type(self.alpha) * x))
