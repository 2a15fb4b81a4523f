"""Elementwise sums and products of quantized tensors, in exact accumulators."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, expect
from graphopt.ops.elementwise import Mul, broadcast
from graphopt.ops.integer import accumulator, sample_pair, sample_quantized
from graphopt.ops.logic import Cast

__all__ = ["IntegerSqrt", "MulInteger", "WeightedSum"]


class WeightedSum(Op, name="weighted_sum"):
    """offset + sum factors[i] * x[i] of broadcast operands, in int32, or in int64 if one of them is int16.

    The pass that makes it must prove that no partial sum overflows.
    """

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    factors: tuple[int, ...]
    offset: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(len(inputs) == len(self.factors) > 0, f"{len(inputs)} operands, {len(self.factors)} factors")
        wide = "int64" if any(accumulator(x) == "int64" for x in inputs) else "int32"
        return TensorType(wide, broadcast(*(x.shape for x in inputs)))

    def evaluate(self, *inputs: Array) -> Array:
        wide = np.dtype("int64" if any(x.dtype == np.int16 for x in inputs) else "int32")
        total: Array = np.asarray(self.offset, np.int64)
        for x, factor in zip(inputs, self.factors, strict=True):
            total = np.add(total, x.astype(np.int64) * factor)
        return np.asarray(total.astype(wide))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        q = sample_quantized(draw, x)
        if q is None:
            return None
        count = draw.integer(1, 2)
        other = sample_quantized(draw, draw.value(x.type))
        assert other is not None
        factors = tuple(draw.integer(-(1 << 20), 1 << 20) for _ in range(count))
        return cls(factors=factors, offset=draw.integer(-(1 << 28), 1 << 28))(*(q, other)[:count])


class MulInteger(Op, name="mul_integer"):
    """(a - a_zero_point) * (b - b_zero_point), broadcast, in int32 for 8-bit operands, else in int64."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    a_zero_point: int = 0
    b_zero_point: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        a, b = inputs
        wide = "int64" if "int64" in (accumulator(a), accumulator(b)) else "int32"
        return TensorType(wide, broadcast(a.shape, b.shape))

    def evaluate(self, *inputs: Array) -> Array:
        a, b = (x.astype(np.int64) - z for x, z in zip(inputs, (self.a_zero_point, self.b_zero_point), strict=True))
        wide = "int64" if any(x.dtype == np.int16 for x in inputs) else "int32"
        return np.asarray((a * b).astype(wide))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return sample_pair(draw, cls, Mul.sample(draw, x))


class IntegerSqrt(Op, name="integer_sqrt"):
    """floor(sqrt(x)) of int64 in [0, 2^52)."""

    traits = Trait.ELEMENTWISE

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.dtype == "int64", f"{self.name} of {x}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        """By the float64 square root: it is exact for square numbers and never rounds up to an integer otherwise."""
        return np.asarray(np.sqrt(inputs[0].astype(np.float64)).astype(np.int64))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        q = sample_quantized(draw, x)
        if q is None:
            return None
        zero = draw.integer(-128, 127)
        return cls()(Cast(to="int64")(MulInteger(a_zero_point=zero, b_zero_point=zero)(q, q)))
