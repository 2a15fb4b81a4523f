"""Normalisations."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Value, constant, expect
from graphopt.ops.elementwise import Add, Mul


class BatchNorm(Op, name="batch_norm"):
    """Inference-time batch norm (ONNX BatchNormalization): (x - mean) / sqrt(var + epsilon) * scale + bias.

    x [n, c, ...]; scale, bias, mean and var [c].
    """

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
        """x * k + t with constants k and t; None where a parameter is not constant."""
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
        e = np.exp(x - x.max(axis=self.axis, keepdims=True))
        return np.asarray(e / e.sum(axis=self.axis, keepdims=True))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not x.type.is_float:
            return None
        return cls(axis=draw.integer(1, x.type.rank - 1))(x)
