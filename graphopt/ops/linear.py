"""Matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, expect
from graphopt.ops.elementwise import broadcast

__all__ = ["Linear", "MatMul"]


def product_macs(left: TensorType, result: TensorType) -> int:
    """The multiply-accumulates of a matrix product: the last axis of the left operand, at each result element."""
    return math.prod(result.static_shape) * left.static_shape[-1]


class Linear(Op, name="linear", version=2):
    """x [..., k] times weight [o, k] transposed, plus bias [o] -> [..., o] (torch.nn.Linear)."""

    traits = Trait.PRODUCT | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        x, w, b = inputs
        expect(x.rank >= 1 and w.rank == 2 and x.shape[-1] == w.shape[1], f"linear of {x} by {w}")
        expect(b.shape == w.shape[:1], f"bias {b} for weight {w}")
        expect(x.dtype == w.dtype == b.dtype, f"linear mixes {x.dtype}, {w.dtype} and {b.dtype}")
        return x.with_shape((*x.shape[:-1], w.shape[0]))

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return product_macs(inputs[0], results[0])

    def evaluate(self, *inputs: Array) -> Array:
        x, w, b = inputs
        return np.asarray(np.matmul(x, w.T) + b)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not isinstance(x.type.shape[-1], int) or not x.type.is_float:
            return None
        out = draw.integer(1, 5)
        return cls()(x, draw.weights(out, x.type.shape[-1]), draw.weights(out))


class MatMul(Op, name="matmul"):
    """ONNX MatMul of operands of rank two and more: [..., m, k] times [..., k, n], leading axes broadcast."""

    traits = Trait.PRODUCT | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        a, b = inputs
        expect(a.rank >= 2 and b.rank >= 2 and a.dtype == b.dtype, f"matmul of {a} by {b}")
        expect(a.shape[-1] == b.shape[-2], f"matmul of {a} by {b}: inner dimensions differ")
        return a.with_shape((*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return product_macs(inputs[0], results[0])

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.matmul(*inputs))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not isinstance(x.type.shape[-1], int) or not x.type.is_float:
            return None
        other = x.type.with_shape((*x.type.shape[:-2], x.type.shape[-1], draw.integer(1, 4)))
        return cls()(x, draw.value(other)) if isinstance(x.type.shape[-2], int) else None
