"""Elementwise operators: activations and arithmetic with broadcasting."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Op, Sampler, Shape, TensorType, Trait, Value, expect
from graphopt.ops.elementary import evaluated

__all__ = [
    "Abs",
    "Add",
    "Binary",
    "Clip",
    "Div",
    "Exp",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Maximum",
    "Minimum",
    "Mul",
    "Neg",
    "Pow",
    "Relu",
    "Sigmoid",
    "Silu",
    "Sqrt",
    "Sub",
    "Tanh",
    "Unary",
    "broadcast",
]


def broadcast(*shapes: Shape) -> Shape:
    """The numpy broadcast of shapes; N matches N and 1. Raises ``InvalidGraph`` if they do not fit."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    result = []
    for dims in zip(*padded, strict=True):
        wide = {d for d in dims if d != 1}
        if len(wide) > 1:
            raise InvalidGraph(f"shapes {' and '.join(map(str, shapes))} do not broadcast")
        result.append(wide.pop() if wide else 1)
    return tuple(result)


class Unary(Op):
    """y[i] = f(x[i]), on floats, and on integers if ``integers`` is set."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    integers: ClassVar[bool] = False

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.is_float or (self.integers and "int" in x.dtype), f"{self.name} of {x}: it works on floats")
        return x

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls()(x) if x.type.is_float else None


class Identity(Unary, name="identity"):
    """y = x."""

    traits = Unary.traits | Trait.MOVE

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0]

    def evaluate(self, *inputs: Array) -> Array:
        return inputs[0]


class Relu(Unary, name="relu"):
    """max(x, 0)."""

    integers = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.maximum(inputs[0], 0))


class LeakyRelu(Unary, name="leaky_relu"):
    """x where x >= 0, else alpha * x."""

    alpha: float = 0.01

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.where(x >= 0, x, x.dtype.type(self.alpha) * x)


class Clip(Unary, name="clip"):
    """min(max(x, low), high): ReLU6 is clip of 0 and 6."""

    integers = True

    low: float = float("-inf")
    high: float = float("inf")

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        if x.dtype.kind == "f":
            return np.asarray(np.minimum(np.maximum(x, x.dtype.type(self.low)), x.dtype.type(self.high)))
        limits = np.iinfo(x.dtype)
        return np.clip(x, int(max(self.low, limits.min)), int(min(self.high, limits.max)))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        low, high = draw.choice([(0.0, 6.0), (-1.0, 1.0), (float("-inf"), 0.5), (0.25, float("inf"))])
        return cls(low=low, high=high)(x) if x.type.is_float else None


def exact_sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + small), small / (1 + small)))


class Sigmoid(Unary, name="sigmoid"):
    """1 / (1 + exp(-x)), computed without overflow."""

    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("sigmoid", exact_sigmoid, inputs[0])


class Tanh(Unary, name="tanh"):
    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("tanh", np.tanh, inputs[0])


class Silu(Unary, name="silu"):
    """x * sigmoid(x), also called swish."""

    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("silu", lambda x: x * exact_sigmoid(x), inputs[0])

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        return (Mul()(inputs[0], Sigmoid()(inputs[0])),)


class HardSigmoid(Unary, name="hard_sigmoid"):
    """min(max(alpha * x + beta, 0), 1)."""

    alpha: float = 0.2
    beta: float = 0.5

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        kind = x.dtype.type
        return np.asarray(np.minimum(np.maximum(kind(self.alpha) * x + kind(self.beta), kind(0)), kind(1)))


class HardSwish(Unary, name="hard_swish"):
    """x * hard_sigmoid(x) with alpha 1/6 and beta 1/2."""

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0] * HardSigmoid(alpha=1 / 6).evaluate(*inputs))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        return (Mul()(inputs[0], HardSigmoid(alpha=1 / 6)(inputs[0])),)


class Exp(Unary, name="exp"):
    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("exp", np.exp, inputs[0])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls()(Clip(low=-4.0, high=4.0)(x)) if x.type.is_float else None


class Sqrt(Unary, name="sqrt"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.sqrt(inputs[0]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls()(Clip(low=0.25, high=100.0)(x)) if x.type.is_float else None


class Neg(Unary, name="neg"):
    integers = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.negative(inputs[0])


class Abs(Unary, name="abs"):
    integers = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.abs(inputs[0])


class Binary(Op):
    """y[i] = f(a[i], b[i]) on operands of one dtype, broadcast as numpy does."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        a, b = inputs
        expect(a.dtype == b.dtype and a.dtype != "bool", f"{self.name} of {a} and {b}")
        return a.with_shape(broadcast(a.shape, b.shape))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        shape = tuple(draw.choice([d, d, 1]) for d in x.type.shape)[draw.integer(0, x.type.rank) :]
        other = draw.value(x.type.with_shape(draw.choice([x.type.shape, shape])))
        return cls()(x, other)


class Add(Binary, name="add"):
    commutative = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.add(*inputs)


class Sub(Binary, name="sub"):
    def evaluate(self, *inputs: Array) -> Array:
        return np.subtract(*inputs)


class Mul(Binary, name="mul"):
    commutative = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.multiply(*inputs)


class Div(Binary, name="div"):
    """a / b; integers truncate toward zero, as in ONNX."""

    def evaluate(self, *inputs: Array) -> Array:
        a, b = inputs
        # the remainder of fmod has the sign of a, so that the rest divides exactly
        return np.asarray(a / b if a.dtype.kind == "f" else (a - np.fmod(a, b)) // b, a.dtype)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        shape = x.type.shape[1:]
        if not x.type.is_float or not all(isinstance(d, int) for d in shape):
            return None
        return cls()(x, draw.weights(*shape, positive=True))  # type: ignore[arg-type]


class Pow(Binary, name="pow"):
    def evaluate(self, *inputs: Array) -> Array:
        return evaluated("pow", np.power, *inputs)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls()(Clip(low=0.25, high=4.0)(x), draw.weights(positive=True)) if x.type.is_float else None


class Minimum(Binary, name="minimum"):
    commutative = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.minimum(*inputs)


class Maximum(Binary, name="maximum"):
    commutative = True

    def evaluate(self, *inputs: Array) -> Array:
        return np.maximum(*inputs)
