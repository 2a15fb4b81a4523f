"""Quantization and its inverse, as in ONNX: IEEE division, halves to even, saturation."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, constant, expect
from graphopt.ops.elementwise import Add, Clip, Div, Mul, Sub, broadcast
from graphopt.ops.logic import Cast, Greater, Where
from graphopt.ops.math import Round
from graphopt.ops.shape import Reshape

__all__ = ["Dequantize", "Quantization", "Quantize"]

STORED = ("int8", "uint8", "int16", "uint16")


class Quantization(Op):
    """Operands x, scale and zero_point; the last two are scalars, or [size of ``axis``], or have the rank of x."""

    traits = Trait.PER_SAMPLE

    axis: int = 1

    def fits(self, x: TensorType, scale: TensorType, zero: TensorType) -> bool:
        if scale.shape != zero.shape or not scale.is_float:
            return False
        if scale.rank == 1:
            return 0 <= self.axis < x.rank and scale.shape[0] == x.shape[self.axis]
        return scale.rank in (0, x.rank) and broadcast(x.shape, scale.shape) == x.shape

    def column(self, rank: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in which a parameter broadcasts to x."""
        return tuple(shape[0] if a == self.axis else 1 for a in range(rank)) if len(shape) == 1 else shape

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float or x.type.rank < 2 or not isinstance(x.type.shape[1], int):
            return None
        shape = draw.choice([(), (x.type.shape[1],)])
        scale, dtype = draw.weights(*shape, positive=True), draw.choice(list(STORED))
        zero = constant(np.full(shape, draw.integer(0, 5), dtype))
        return Dequantize()(Quantize()(x, scale, zero), scale, zero)


class Quantize(Quantization, name="quantize"):
    """saturate(round(x / scale) + zero_point), in the dtype of zero_point; NaN gives the lowest integer."""

    def infer(self, *inputs: TensorType) -> TensorType:
        x, scale, zero = inputs
        expect(x.dtype == scale.dtype and zero.dtype in STORED, f"quantize of {x} by {scale} and {zero}")
        expect(self.fits(x, scale, zero), f"quantize of {x} by {scale} and {zero}")
        return x.with_dtype(zero.dtype)

    def evaluate(self, *inputs: Array) -> Array:
        x, scale, zero = inputs
        scale, zero = (p.reshape(self.column(x.ndim, p.shape)) for p in (scale, zero))
        limits = np.iinfo(zero.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            steps = np.rint(x / scale).astype(np.float64) + zero
            return np.asarray(np.fmin(np.fmax(steps, limits.min), limits.max).astype(zero.dtype))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        """Computes in float32 or wider, which holds every integer up to the saturation exactly."""
        x, scale, zero = inputs
        scale, zero = (_reshaped(p, self.column(x.type.rank, p.type.static_shape)) for p in (scale, zero))
        limits = np.iinfo(zero.type.dtype)
        steps = Round()(Div()(x, scale))
        wide = "float32" if x.type.dtype == "float16" else x.type.dtype
        steps = Add()(_cast(steps, wide), _cast(zero, wide))
        low = constant(np.asarray(limits.min, wide))
        numbers = Where()(Greater()(steps, low), steps, low)  # without NaN, of which nothing is greater
        return (_cast(Clip(high=float(limits.max))(numbers), zero.type.dtype),)


class Dequantize(Quantization, name="dequantize"):
    """(x - zero_point) * scale, in the dtype of scale."""

    def infer(self, *inputs: TensorType) -> TensorType:
        x, scale, zero = inputs
        expect(x.dtype == zero.dtype and x.dtype in (*STORED, "int32"), f"dequantize of {x} by {scale} and {zero}")
        expect(self.fits(x, scale, zero), f"dequantize of {x} by {scale} and {zero}")
        return x.with_dtype(scale.dtype)

    def evaluate(self, *inputs: Array) -> Array:
        x, scale, zero = inputs
        scale, zero = (p.reshape(self.column(x.ndim, p.shape)) for p in (scale, zero))
        wide = np.promote_types(scale.dtype, np.float32)
        steps = (x.astype(np.int32) - zero.astype(np.int32)).astype(wide)
        return np.asarray((steps * scale.astype(wide)).astype(scale.dtype))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        x, scale, zero = inputs
        dtype = scale.type.dtype
        scale, zero = (_reshaped(p, self.column(x.type.rank, p.type.static_shape)) for p in (scale, zero))
        wide = "float32" if dtype == "float16" else dtype
        steps = _cast(Sub()(_cast(x, "int32"), _cast(zero, "int32")), wide)
        return (_cast(Mul()(steps, _cast(scale, wide)), dtype),)


def _cast(x: Value, dtype: str) -> Value:
    return x if x.type.dtype == dtype else Cast(to=dtype)(x)


def _reshaped(x: Value, shape: tuple[int, ...]) -> Value:
    return x if x.type.shape == shape else Reshape(shape=shape)(x)
