"""Binary tensors: signs times one scale, signs packed into words, and products of packed signs by XOR and popcount.

As in XNOR-Net (Rastegari et al., 2016): a sign is -1 or 1, the sign of 0 is 1, and a sum of c products of signs is
c - 2 * (the number of places in which they differ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, constant, expect
from graphopt.ops.conv import Conv
from graphopt.ops.elementwise import Add, Div, Mul, Neg, Sub
from graphopt.ops.integer import ConvInteger, LinearInteger, sample_quantized
from graphopt.ops.linear import Linear
from graphopt.ops.logic import Cast, Less, Mod, Where
from graphopt.ops.reduction import ReduceSum
from graphopt.ops.shape import Pad, Reshape, Slice
from graphopt.ops.windows import Window, sample_window

__all__ = ["WORD", "Binarize", "ConvXnor", "PackSigns", "pack_signs"]

WORD = 32
"""The signs in a word."""


def words_of(channels: int) -> int:
    """The number of words that hold the signs of ``channels`` channels."""
    return -(-channels // WORD)


def channels_of(x: TensorType) -> int:
    (channels,) = x.with_shape(x.shape[1:2]).static_shape
    return channels


def powers(rank: int) -> Array:
    """2^i for each bit of a word, int64, along axis 2 of a tensor of the given rank."""
    return (np.int64(1) << np.arange(WORD, dtype=np.int64)).reshape(WORD, *[1] * (rank - 3))


def pack_signs(negative: Array) -> Array:
    """bool [n, c, ...] as uint32 [n, ceil(c / 32), ...]: bit i of word j is channel 32 j + i, bits beyond are 0."""
    channels = negative.shape[1]
    rest = [(0, 0)] * (negative.ndim - 2)
    bits = np.pad(negative, [(0, 0), (0, -channels % WORD), *rest])
    bits = bits.reshape(len(bits), words_of(channels), WORD, *negative.shape[2:])
    return np.asarray((bits * powers(bits.ndim)).sum(axis=2).astype(np.uint32))


def unpack_signs(packed: Array, channels: int) -> Array:
    """The signs, -1 and 1 in int8, [n, channels, ...], of words [n, ceil(channels / 32), ...]."""
    bits = packed[:, :, None].astype(np.int64) // powers(packed.ndim + 1) % 2
    flat = bits.reshape(len(packed), -1, *packed.shape[2:])[:, :channels]
    return np.asarray((1 - 2 * flat).astype(np.int8))


class Binarize(Op, name="binarize"):
    """-scale where x < 0, else scale; x is a float tensor, scale [] of the same dtype."""

    traits = Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        x, scale = inputs
        expect(x.is_float and scale.dtype == x.dtype and scale.rank == 0, f"{self.name} of {x} by {scale}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        x, scale = inputs
        return np.asarray(np.where(x < 0, -scale, scale), x.dtype)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        x, scale = inputs
        return (Where()(Less()(x, constant(np.zeros((), x.type.dtype))), Neg()(scale), scale),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return cls()(x, draw.weights(positive=True)) if x.type.is_float else None


class PackSigns(Op, name="pack_signs"):
    """x [n, c, *s] of floats or integers -> uint32 [n, ceil(c / 32), *s].

    Bit i of word j is 1 if channel 32 j + i is below the threshold, the zero_point of x; bits beyond c are 0.
    """

    traits = Trait.PER_SAMPLE

    threshold: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.rank >= 2 and x.dtype != "bool", f"{self.name} of {x}")
        if not x.is_float:
            limits = np.iinfo(x.dtype)
            expect(limits.min <= self.threshold <= limits.max, f"threshold {self.threshold} of {x}")
        return TensorType("uint32", (x.shape[0], words_of(channels_of(x)), *x.shape[2:]))

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return pack_signs(x < np.asarray(self.threshold, x.dtype))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        """By sums of powers of two in int64."""
        (x,) = inputs
        channels, rest = channels_of(x.type), x.type.shape[2:]
        words, spare = words_of(channels), -channels % WORD
        wide = x if x.type.is_float else Cast(to="int64")(x)
        negative = Cast(to="int64")(Less()(wide, constant(np.asarray(self.threshold, wide.type.dtype))))
        padding = (0,) * (x.type.rank + 1) + (spare,) + (0,) * len(rest)
        padded = Pad(pads=padding)(negative) if spare else negative
        bits = Reshape(shape=(x.type.shape[0], words, WORD, *rest))(padded)
        sums = ReduceSum(axes=(2,), keepdims=False)(Mul()(bits, constant(powers(bits.type.rank))))
        return (Cast(to="uint32")(sums),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float or x.type.rank < 2 or not isinstance(x.type.shape[1], int):
            return None
        q = draw.choice([x, sample_quantized(draw, x)])
        assert q is not None
        return cls(threshold=0 if q is x else draw.integer(-128, 127))(q)


class ConvXnor(Op, name="conv_xnor"):
    """A convolution of packed signs: x [n, w, *s], weight [o, w, *k], both uint32, bias [o] -> int32 [n, o, *s'].

    w = ceil(channels / 32), as in ``pack_signs``: y = b + unit * sum of channels - 2 popcount(x ^ weight) over the
    taps of each window that lie inside x, so that padding counts as zero. Without spatial axes it is a matrix product.
    Products of signs have coarse steps, and a bias needs fractions of them; ``unit`` provides these. Bits beyond the
    channels are 0 in both operands. The pass that makes this operator must prove that nothing overflows.
    """

    traits = Trait.PRODUCT | Trait.WINDOW | Trait.PER_SAMPLE

    channels: int
    unit: int = 1
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()

    def window(self, weight: TensorType) -> Window:
        return Window.of(weight.shape[2:], self.strides, self.pads, self.dilations)

    def infer(self, *inputs: TensorType) -> TensorType:
        x, w, b = inputs
        expect(x.dtype == w.dtype == "uint32" and b.dtype == "int32", f"{self.name} of {x} by {w} with bias {b}")
        expect(2 <= x.rank <= 5 and x.rank == w.rank, f"{self.name} of {x} by {w}")
        words = words_of(self.channels)
        expect(self.channels > 0, f"{self.name} of {self.channels} channels")
        expect(x.shape[1] == w.shape[1] == words, f"{self.channels} channels are {words} words; {x} by {w}")
        expect(b.shape == w.shape[:1], f"bias {b} for {w}")
        return TensorType("int32", (x.shape[0], w.shape[0], *self.window(w).output_shape(x.shape[2:])))

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        """The multiply-accumulates of the convolution of the unpacked signs."""
        kernel = inputs[1].static_shape[2:]
        return math.prod(results[0].static_shape) * self.channels * math.prod(kernel)

    def evaluate(self, *inputs: Array) -> Array:
        x, w = (unpack_signs(a, self.channels).astype(np.float64) for a in inputs[:2])
        y = self.real(x.ndim).evaluate(x, w * self.unit, inputs[2].astype(np.float64))
        return np.asarray(np.asarray(y).astype(np.int64).astype(np.int32))

    def real(self, rank: int) -> Op:
        """The float operator of which this is the form on signs."""
        return Conv(strides=self.strides, pads=self.pads, dilations=self.dilations) if rank > 2 else Linear()

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        """A product of int8."""
        x, w, b = inputs
        form = (ConvInteger if x.type.rank > 2 else LinearInteger).of(self.real(x.type.rank))
        (out,) = b.type.static_shape
        sums = form(*(unpacked(v, self.channels) for v in (x, w)), constant(np.zeros(out, "int32")))
        column = Reshape(shape=(out, *[1] * (x.type.rank - 2)))(b)
        return (Add()(Mul()(sums, constant(np.asarray(self.unit, "int32"))), column),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not isinstance(x.type.shape[1], int) or not x.type.shape[1] or not x.type.is_float:
            return None
        window = sample_window(draw, x.type) if x.type.rank > 2 else Window((), (), (), ())
        if window is None:
            return None
        channels, out = x.type.shape[1], draw.integer(1, 4)
        rng = np.random.default_rng(draw.integer(0, 99))
        weight = constant(pack_signs(rng.random((out, channels, *window.kernel)) < 0.5))
        bias = constant(rng.integers(-99, 99, out).astype("int32"))
        geometry = {"strides": window.strides, "pads": window.pads, "dilations": window.dilations}
        op = cls(channels=channels, unit=draw.integer(1, 1 << 16), **geometry)
        return op(PackSigns()(x), weight, bias)


def unpacked(x: Value, channels: int) -> Value:
    """``unpack_signs`` by operators."""
    n, words, *rest = x.type.shape
    apart = Reshape(shape=(n, words, 1, *rest))(Cast(to="int64")(x))
    two = constant(np.asarray(2, "int64"))
    bits = Mod()(Div()(apart, constant(powers(len(rest) + 3))), two)
    signs = Sub()(constant(np.asarray(1, "int64")), Mul()(bits, two))
    flat = Reshape(shape=(n, words * WORD, *rest))(Cast(to="int8")(signs))
    return flat if words * WORD == channels else Slice(axis=1, start=0, stop=channels)(flat)
