"""From accumulators back to narrow integers, and functions of narrow integers by table."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, constant, expect
from graphopt.ops.elementwise import Add, broadcast
from graphopt.ops.integer import sample_quantized
from graphopt.ops.logic import Cast
from graphopt.ops.shape import Concat, Reshape, Slice

__all__ = ["ChannelLookup", "FlipSign", "Lookup", "Requantize"]

NARROW = ("int8", "uint8", "int16")


class Requantize(Op, name="requantize"):
    """clip(zero_point + floor((acc * multiplier + 2^(shift - 1)) / 2^shift), low, high), in ``to``; exact integers.

    ``multiplier`` m and ``shift`` t are int32 and broadcast to ``acc``. ``acc`` is int32 with 1 <= t <= 62, or int64
    of a magnitude below 2^46 with 17 <= t <= 62. It multiplies by m / 2^t and rounds halves up. For t <= 32 this is
    sat(zero_point + ((sat32(acc * 2^(32 - t)) * m + 2^31) >> 32)), one SMMLAR and SSAT on a Cortex-M with DSP.
    """

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    zero_point: int = 0
    low: int = -128
    high: int = 127
    to: str = "int8"

    def infer(self, *inputs: TensorType) -> TensorType:
        acc, multiplier, shift = inputs
        expect(acc.dtype in ("int32", "int64"), f"requantize of {acc}")
        expect(multiplier.dtype == shift.dtype == "int32", f"requantize by {multiplier} and {shift}")
        expect(broadcast(acc.shape, multiplier.shape, shift.shape) == acc.shape, f"{multiplier} must fit {acc}")
        expect(self.to in NARROW, f"requantize to {self.to!r}: one of {', '.join(NARROW)}")
        limits = np.iinfo(self.to)
        expect(limits.min <= self.low <= self.high <= limits.max, f"[{self.low}, {self.high}] in {self.to}")
        return acc.with_dtype(self.to)

    def evaluate(self, *inputs: Array) -> Array:
        acc, multiplier, shift = (a.astype(np.int64) for a in inputs)
        half = np.left_shift(np.int64(1), shift - 1)
        if inputs[0].dtype == np.int32:
            scaled = np.right_shift(acc * multiplier + half, shift)
        else:
            scaled = scaled_wide(acc, multiplier, shift)
        return np.asarray(np.clip(scaled + self.zero_point, self.low, self.high).astype(self.to))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        q = sample_quantized(draw, x)
        if q is None or x.type.rank < 2:
            return None
        channels = x.type.shape[1] if isinstance(x.type.shape[1], int) else 1
        shape = draw.choice([(), (channels, *(1,) * (x.type.rank - 2))])
        rng = np.random.default_rng(draw.integer(0, 99))
        multiplier = constant(rng.integers(1 << 30, 1 << 31, shape, dtype=np.int64).astype("int32"))
        wide = draw.choice(["int32", "int64"])
        shift = constant(rng.integers(1 if wide == "int32" else 17, 63, shape).astype("int32"))
        op = cls(zero_point=draw.integer(-128, 127), low=draw.integer(-128, 0), high=draw.integer(0, 127))
        return op(Cast(to=wide)(q), multiplier, shift)


def scaled_wide(acc: Array, multiplier: Array, shift: Array) -> Array:
    """floor((acc * multiplier + 2^(shift - 1)) / 2^shift) for products that may exceed 64 bits.

    acc = upper * 2^16 + lower. Since shift > 16, the product of the lower part only carries into that of the upper.
    """
    upper, lower = np.right_shift(acc, 16), np.bitwise_and(acc, 0xFFFF)
    half = np.left_shift(np.int64(1), shift - 1)
    carried = upper * multiplier + np.right_shift(lower * multiplier + half, 16)
    return np.asarray(np.right_shift(carried, shift - 16))


class Lookup(Op, name="lookup"):
    """table[x - lowest of x's dtype], elementwise; x is int8 or uint8, table [256] of any dtype."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        x, table = inputs
        expect(x.dtype in ("int8", "uint8") and table.shape == (256,), f"lookup of {x} in {table}")
        return x.with_dtype(table.dtype)

    def evaluate(self, *inputs: Array) -> Array:
        x, table = inputs
        return np.asarray(table[x.astype(np.int64) - np.iinfo(x.dtype).min])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        q = sample_quantized(draw, x)
        return None if q is None else cls()(q, draw.weights(256))


class ChannelLookup(Op, name="channel_lookup"):
    """table[c, x - lowest of x's dtype] in channel c, on axis 1; x is int8 or uint8, table [channels, 256]."""

    traits = Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        x, table = inputs
        fits = x.dtype in ("int8", "uint8") and x.rank > 1 and table.shape == (x.shape[1], 256)
        expect(fits, f"{self.name} of {x} in {table}")
        return x.with_dtype(table.dtype)

    def evaluate(self, *inputs: Array) -> Array:
        x, table = inputs
        channels = np.arange(x.shape[1]).reshape(-1, *[1] * (x.ndim - 2))
        return np.asarray(table[channels, x.astype(np.int64) - np.iinfo(x.dtype).min])

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        """One lookup a channel."""
        x, table = inputs
        channels = table.type.static_shape[0]
        rows = [Reshape(shape=(256,))(Slice(axis=0, start=c, stop=c + 1)(table)) for c in range(channels)]
        parts = [Lookup()(Slice(axis=1, start=c, stop=c + 1)(x), row) for c, row in enumerate(rows)]
        return (Concat(axis=1)(*parts),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        q = sample_quantized(draw, x)
        if q is None or q.type.rank < 2 or not isinstance(q.type.shape[1], int):
            return None
        return cls()(q, draw.weights(q.type.shape[1], 256))


class FlipSign(Op, name="flip_sign"):
    """x with its highest bit flipped: uint8 x as the int8 x - 128, and int8 x as the uint8 x + 128."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.dtype in ("int8", "uint8"), f"{self.name} of {x}")
        return x.with_dtype("int8" if x.dtype == "uint8" else "uint8")

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.asarray((x.view(np.uint8) ^ 0x80).view("int8" if x.dtype == np.uint8 else "uint8"))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        (x,) = inputs
        step = constant(np.asarray(-128 if x.type.dtype == "uint8" else 128, np.int32))
        return (Cast(to=self.infer(x.type).dtype)(Add()(Cast(to="int32")(x), step)),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        q = sample_quantized(draw, x)
        return None if q is None else cls()(cls()(q) if draw.integer(0, 1) else q)
