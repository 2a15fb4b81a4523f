"""Normalizations."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, constant, expect
from graphopt.ops.elementary import evaluated
from graphopt.ops.elementwise import Add, Div, Mul, Sqrt, Sub
from graphopt.ops.reduction import ReduceMean

__all__ = ["BatchNorm", "LayerNorm", "Softmax"]


class BatchNorm(Op, name="batch_norm"):
    """Inference-time batch norm (ONNX BatchNormalization): (x - mean) / sqrt(var + epsilon) * scale + bias.

    x [n, c, ...]; scale, bias, mean and var [c].
    """

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    epsilon: float = 1e-5

    def infer(self, *inputs: TensorType) -> TensorType:
        x, *parameters = inputs
        expect(len(parameters) == 4 and x.rank >= 2, f"batch_norm of {x} with {len(parameters)} parameters")
        wanted = TensorType(x.dtype, (x.shape[1],))
        expect(all(p == wanted for p in parameters), f"batch_norm of {x} by {parameters[0]}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        x, *parameters = inputs
        scale, bias, mean, var = (p.reshape(-1, *[1] * (x.ndim - 2)) for p in parameters)
        return np.asarray((x - mean) / np.sqrt(var + x.dtype.type(self.epsilon)) * scale + bias)

    def decompose(self, *inputs: Value) -> tuple[Value, ...] | None:
        """x * k + t with constants k and t; None if a parameter is not constant."""
        x, *parameters = inputs
        arrays = [p.constant for p in parameters]
        scale, bias, mean, var = (None if a is None else a.astype(np.float64) for a in arrays)
        if scale is None or bias is None or mean is None or var is None:
            return None
        k = scale / np.sqrt(var + self.epsilon)
        shape = (-1, *[1] * (x.type.rank - 2))
        factor, shift = (constant(a.astype(x.type.dtype).reshape(shape)) for a in (k, bias - mean * k))
        return (Add()(Mul()(x, factor), shift),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not isinstance(c := x.type.shape[1], int) or not x.type.is_float:
            return None
        return cls()(x, draw.weights(c), draw.weights(c), draw.weights(c), draw.weights(c, positive=True))


class Softmax(Op, name="softmax"):
    """exp(x - max) / sum(exp(x - max)) along one axis."""

    axis: int = -1

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.is_float and -x.rank <= self.axis < x.rank, f"softmax along {self.axis} of {x}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        e = evaluated("exp", np.exp, x - x.max(axis=self.axis, keepdims=True))
        return np.asarray(e / e.sum(axis=self.axis, keepdims=True))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not x.type.is_float:
            return None
        return cls(axis=draw.integer(1, x.type.rank - 1))(x)


class LayerNorm(Op, name="layer_norm"):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes, those of scale and bias."""

    epsilon: float = 1e-5

    def infer(self, *inputs: TensorType) -> TensorType:
        x, scale, bias = inputs
        expect(x.is_float and 0 < scale.rank <= x.rank, f"layer_norm of {x} by {scale}")
        expect(scale == bias == x.with_shape(x.shape[-scale.rank :]), f"layer_norm of {x} by {scale} and {bias}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        x, scale, bias = inputs
        axes = tuple(range(x.ndim - scale.ndim, x.ndim))
        centred = x - x.mean(axis=axes, keepdims=True)
        variance = np.square(centred).mean(axis=axes, keepdims=True)
        return np.asarray(centred / np.sqrt(variance + x.dtype.type(self.epsilon)) * scale + bias)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        x, scale, bias = inputs
        mean = ReduceMean(axes=tuple(range(x.type.rank - scale.type.rank, x.type.rank)))
        centred = Sub()(x, mean(x))
        variance = mean(Mul()(centred, centred))
        root = Sqrt()(Add()(variance, constant(np.asarray(self.epsilon, x.type.dtype))))
        return (Add()(Mul()(Div()(centred, root), scale), bias),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        shape = x.type.shape[draw.integer(1, max(1, x.type.rank - 1)) :]
        static = [d for d in shape if isinstance(d, int)]
        if not shape or len(static) < len(shape) or not x.type.is_float:
            return None
        # over one element the result is the bias, and what rounding leaves of zero
        if int(np.prod(static)) < 2:
            return None
        return cls()(x, draw.weights(*static), draw.weights(*static))
