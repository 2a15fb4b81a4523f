"""Products and sums of quantized tensors: integers in, exact integer accumulators out.

The operators know the zero_point of each operand, but not its scale. Accumulators are int32, or int64 for int16
activations. The pass that makes these operators must prove that the accumulators do not overflow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, constant, expect
from graphopt.ops.conv import Conv, ConvTranspose
from graphopt.ops.linear import Linear, MatMul
from graphopt.ops.quantized import Quantize
from graphopt.ops.windows import Window, sample_window

__all__ = [
    "ACCUMULATORS",
    "ConvInteger",
    "ConvTransposeInteger",
    "IntegerProduct",
    "LinearInteger",
    "MatMulInteger",
    "SumPool",
    "overflowing",
]

ACCUMULATORS = {"int8": "int32", "uint8": "int32", "int16": "int64"}
"""The dtype of sums of products, by the dtype of activations."""


def accumulator(x: TensorType) -> str:
    expect(x.dtype in ACCUMULATORS, f"{x} is not quantized: one of {', '.join(ACCUMULATORS)} is needed")
    return ACCUMULATORS[x.dtype]


def centred(x: Array, zero_point: int) -> Array:
    """x - zero_point in float64, which holds all sums of products of quantized numbers exactly."""
    return np.asarray(x.astype(np.float64) - zero_point)


def overflowing(weight: Array, bias: Array, dtype: str) -> int | None:
    """The first channel of which a partial sum, in any order, might overflow its accumulator; None if none can.

    weight [o, ...], bias [o]. ``dtype`` is that of the activations; x - zero_point has a magnitude below 2^8 or 2^16.
    int32 must stay below 2^31, and int64 below 2^46, the limit of ``requantize``.
    """
    bits = 8 * np.dtype(dtype).itemsize
    sums = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(axis=1)
    beyond = np.abs(bias.astype(np.float64)) + 2.0**bits * sums >= 2.0 ** (31 if bits == 8 else 46)
    return int(beyond.argmax()) if beyond.any() else None


class IntegerProduct(Op):
    """A sum of products of x with int8 weights, plus a bias of the accumulator's dtype; padding counts as zero."""

    traits = Trait.PRODUCT | Trait.PER_SAMPLE

    zero_point: int = 0

    @classmethod
    def of(cls, real: Op, *, zero_point: int = 0) -> Self:
        """The integer form of a float operator, with the attributes that both have."""
        shared = {f.name: getattr(real, f.name) for f in dataclasses.fields(cls) if hasattr(real, f.name)}
        return cls(**shared, zero_point=zero_point)

    def infer(self, *inputs: TensorType) -> TensorType:
        x, w, b = inputs
        wide = accumulator(x)
        expect(w.dtype == "int8" and b.dtype == wide, f"{self.name} of {x} by {w} with bias {b}")
        result = self.real().infer(*(t.with_dtype("float64") for t in inputs))
        assert isinstance(result, TensorType)
        return result.with_dtype(wide)

    def real(self) -> Op:
        """The float operator of which this is the integer form."""
        raise NotImplementedError

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return self.real().macs(inputs, results)

    def evaluate(self, *inputs: Array) -> Array:
        x, w, b = inputs
        y = self.real().evaluate(centred(x, self.zero_point), w.astype(np.float64), b.astype(np.float64))
        return np.asarray(np.asarray(y).astype(np.int64).astype(b.dtype))


class ConvInteger(IntegerProduct, name="conv_integer", version=2):
    """The integer form of conv: y = b + sum (x - zero_point) * w over each window."""

    traits = IntegerProduct.traits | Trait.WINDOW

    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    group: int = 1

    def window(self, weight: TensorType) -> Window:
        return Window.of(weight.shape[2:], self.strides, self.pads, self.dilations)

    def real(self) -> Op:
        return Conv(strides=self.strides, pads=self.pads, dilations=self.dilations, group=self.group)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        window = sample_window(draw, x.type)
        q = sample_quantized(draw, x)
        channels = x.type.shape[1] if x.type.rank > 1 else 0
        if window is None or q is None or not isinstance(channels, int) or not channels:
            return None
        group = draw.choice([g for g in range(1, channels + 1) if channels % g == 0])
        out = group * draw.integer(1, 3)
        op = cls(
            strides=window.strides,
            pads=window.pads,
            dilations=window.dilations,
            group=group,
            zero_point=draw.integer(-128, 127),
        )
        return op(q, *sample_weights(draw, out, channels // group, *window.kernel))


class ConvTransposeInteger(IntegerProduct, name="conv_transpose_integer", version=2):
    """The integer form of conv_transpose."""

    traits = IntegerProduct.traits | Trait.WINDOW

    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    group: int = 1

    def window(self, weight: TensorType) -> Window:
        return Window.of(weight.shape[2:], self.strides, self.pads, self.dilations)

    def real(self) -> Op:
        return ConvTranspose(
            strides=self.strides,
            pads=self.pads,
            dilations=self.dilations,
            output_padding=self.output_padding,
            group=self.group,
        )

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        plain = ConvTranspose.sample(draw, x)
        q = sample_quantized(draw, x)
        if plain is None or q is None:
            return None
        shape, (out,) = (v.type.static_shape for v in plain.node.inputs[1:])
        weight, _ = sample_weights(draw, *shape)
        bias = constant(np.arange(out, dtype="int32") * 7 - 3)
        return cls.of(plain.op, zero_point=draw.integer(-128, 127))(q, weight, bias)


class LinearInteger(IntegerProduct, name="linear_integer", version=2):
    """The integer form of linear: x [..., k], weight [o, k], bias [o] -> [..., o]."""

    def real(self) -> Op:
        return Linear()

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        q = sample_quantized(draw, x)
        if q is None or x.type.rank < 2 or not isinstance(x.type.shape[-1], int):
            return None
        op = cls(zero_point=draw.integer(-128, 127))
        return op(q, *sample_weights(draw, draw.integer(1, 5), x.type.shape[-1]))


class MatMulInteger(Op, name="matmul_integer"):
    """The integer form of matmul, of two quantized activations with one zero_point each."""

    traits = Trait.PRODUCT | Trait.PER_SAMPLE

    a_zero_point: int = 0
    b_zero_point: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        a, b = inputs
        wide = accumulator(a)
        expect(a.dtype == b.dtype, f"{self.name} of {a} and {b}")
        result = MatMul().infer(a, b)
        return result.with_dtype(wide)

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return MatMul().macs(inputs, results)

    def evaluate(self, *inputs: Array) -> Array:
        a, b = inputs
        y = np.matmul(centred(a, self.a_zero_point), centred(b, self.b_zero_point))
        return np.asarray(y.astype(np.int64).astype(ACCUMULATORS[str(a.dtype)]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return sample_pair(draw, cls, MatMul.sample(draw, x))


class SumPool(Op, name="sum_pool"):
    """The sum of (x - zero_point) over the elements of each window that lie inside x: [n, c, *s] -> [n, c, *s']."""

    traits = Trait.WINDOW | Trait.PER_SAMPLE

    kernel: tuple[int, ...]
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    zero_point: int = 0

    def window(self) -> Window:
        return Window.of(self.kernel, self.strides, self.pads, self.dilations)

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(3 <= x.rank <= 5, f"{self.name} of {x}")
        return TensorType(accumulator(x), (*x.shape[:2], *self.window().output_shape(x.shape[2:])))

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        window, wide = self.window(), ACCUMULATORS[str(x.dtype)]
        view = window.view(x.astype(wide) - np.asarray(self.zero_point, wide), 0)
        return np.asarray(view.sum(axis=tuple(range(-window.rank, 0))), wide)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        window, q = sample_window(draw, x.type), sample_quantized(draw, x)
        if window is None or q is None:
            return None
        return cls(
            kernel=window.kernel,
            strides=window.strides,
            pads=window.pads,
            dilations=window.dilations,
            zero_point=draw.integer(-128, 127),
        )(q)


def sample_pair(draw: Sampler, make: Callable[..., Op], plain: Value | None) -> Value | None:
    """The operator that ``make`` gives for two zero points, on the quantized operands of the float value ``plain``."""
    if plain is None:
        return None
    a, b = (sample_quantized(draw, v) for v in plain.node.inputs)
    assert a is not None and b is not None
    return make(a_zero_point=draw.integer(-128, 127), b_zero_point=draw.integer(-128, 127))(a, b)


def sample_quantized(draw: Sampler, x: Value) -> Value | None:
    """A float value as int8 with a coarse scale, so that it sometimes saturates."""
    if not x.type.is_float:
        return None
    zero = constant(np.asarray(draw.integer(-128, 127), "int8"))
    return Quantize()(x, constant(np.asarray(1 / 32, x.type.dtype)), zero)


def sample_weights(draw: Sampler, *shape: int) -> tuple[Value, Value]:
    """Weights of int8, including the extremes, and a bias for the first axis."""
    size = int(np.prod(shape))
    steps = np.arange(size, dtype=np.int64) * draw.integer(1, 126) + draw.integer(0, 254)
    weight = (steps % 255 - 127).astype("int8").reshape(shape)
    return constant(weight), constant((np.arange(shape[0]) * 9973 - 20000).astype("int32"))
