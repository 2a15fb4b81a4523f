"""The operator: what it means, and how others say it."""

import numpy as np

from graphopt.ir import Array, Value, constant
from graphopt.ops import Add, Mul, Sqrt, Unary


class Squareplus(Unary, name="squareplus"):
    """(x + sqrt(x^2 + b)) / 2, element by element: a smooth ReLU (https://arxiv.org/abs/2112.11687)."""

    b: float = 4.0

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.asarray((x + np.sqrt(x * x + self.b)) / 2, x.dtype)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        (x,) = inputs
        b, half = (constant(np.asarray(n, x.type.dtype)) for n in (self.b, 0.5))
        root = Sqrt()(Add()(Mul()(x, x), b))
        return (Mul()(Add()(x, root), half),)
