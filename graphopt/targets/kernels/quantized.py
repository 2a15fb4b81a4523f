"""Common parts of kernels of quantized tensors: widening, zero points, packed weights, and proofs against overflow."""

from __future__ import annotations

import numpy as np
from tvm import tirx

from graphopt.errors import Unsupported
from graphopt.ir import Array, Op
from graphopt.ops import IntegerProduct, factors_of, fits_half, overflowing
from graphopt.rewrite import Decline
from graphopt.targets.instructions import portable
from graphopt.targets.tir import Expr, Point, Tensor, cast


def widened(x: Expr, zero_point: int = 0, *, dtype: str) -> Expr:
    """An element minus its zero_point, in the dtype of the accumulator; floats do not change."""
    wide = cast(x, dtype)
    return wide - zero_point if zero_point else wide


def zero_point_of(op: Op) -> int:
    """The zero_point of the input of a product or a sum; 0 for float operators."""
    return int(getattr(op, "zero_point", 0))


HALF = 16
"""The bits of float16."""


def bits_of(op: Op, weight: Array) -> int:
    """The bits in which the weights of a product are stored; 16 for float16, 8 for whole int8 or float32 elements."""
    if getattr(op, "half", False) and fits_half(weight):
        return HALF
    if getattr(op, "grouped", False) and factors_of(weight) is None:
        return 8
    return int(getattr(op, "bits", 8))


def grouped_factors(op: Op, weight: Array) -> Array | None:
    """The group factors of the weights of a product, which are stored separately; None if there are none."""
    return factors_of(weight) if getattr(op, "grouped", False) else None


def pack_bits(weight: Array, bits: int) -> Array:
    """Weights in one row: unchanged, as float16, or packed into bytes with 4 or 1 bits each.

    The first weight of a byte is in the lowest bits. 4 bits are two's complement; for 1 bit, 0 is +1 and 1 is -1.
    """
    flat = np.ascontiguousarray(weight).ravel()
    if bits == 8:
        return flat
    if bits == HALF:
        return flat.astype(np.float16).view(np.uint16)
    codes = (flat < 0 if bits == 1 else flat & 15).astype(np.uint8)
    per_byte = 8 // bits
    rows = np.pad(codes, (0, -len(codes) % per_byte)).reshape(-1, per_byte)
    shifted = rows << (bits * np.arange(per_byte, dtype=np.uint8))
    return np.asarray(np.bitwise_or.reduce(shifted, axis=1), np.uint8)


def load_bits(packed: Tensor, element: Expr, lanes: int, bits: int, dtype: str, codegen: str) -> Expr:
    """Weights of a row from ``pack_bits``, from ``element`` on, in the dtype of the accumulator."""
    if bits == 8:
        return cast(packed.load(Point((element,), 0, lanes)), dtype)
    if bits == HALF:
        return float_of_half(packed.load(Point((element,), 0, lanes)), lanes, codegen)
    index = element if lanes == 1 else tirx.Ramp(element, 1, lanes)
    per_byte = splat(8 // bits, lanes)
    byte = cast(packed.buffer[tirx.floordiv(index, per_byte)], "int32")
    place = tirx.floormod(index, per_byte)
    if bits == 1:
        return cast(splat(1, lanes) - tirx.bitwise_and(tirx.shift_right(byte, place), splat(1, lanes)) * 2, dtype)
    up = splat(28, lanes) - place * 4
    return cast(tirx.shift_right(tirx.shift_left(byte, up), splat(28, lanes)), dtype)


def float_of_half(half: Expr, lanes: int, codegen: str) -> Expr:
    """The float32 of the bits of a finite float16: the fields are shifted, and the exponent bias grows by 112.

    Zero and subnormal numbers get a leading one, 2^-14, which is then subtracted. So no intermediate float32 is
    subnormal, and it does not matter whether the core flushes subnormals to zero. In C, a helper function does this.
    """
    if codegen == "c":
        return portable.FLOAT_OF_HALF.call(half)

    def each(value: int) -> Expr:
        return splat(value, lanes, "uint32")

    wide = cast(half, "uint32")
    magnitude = tirx.shift_left(tirx.bitwise_and(wide, each(0x7FFF)), each(13))
    sign = tirx.shift_left(tirx.bitwise_and(wide, each(0x8000)), each(16))
    small = magnitude < each(1 << 23)
    kind = "float32" if lanes == 1 else f"float32x{lanes}"
    normal = tirx.reinterpret(kind, magnitude + tirx.Select(small, each(113 << 23), each(112 << 23)))
    wide_magnitude = normal - tirx.Select(small, tirx.const(2.0**-14, kind), tirx.const(0.0, kind))
    return tirx.reinterpret(kind, tirx.bitwise_or(tirx.reinterpret(str(wide.ty), wide_magnitude), sign))


def splat(value: int, lanes: int, dtype: str = "int32") -> Expr:
    """An integer constant in ``lanes`` lanes."""
    return tirx.const(value, dtype if lanes == 1 else f"{dtype}x{lanes}")


def folded_zero_point(op: Op, weight: Array, bias: Array, padded: bool) -> tuple[Array, int]:
    """The bias with the zero_point folded in, and the zero_point that the loops must still subtract.

    Without padding every window sums all its weights, so b + sum (x - z) w = (b - z sum w) + sum x w.
    """
    zero = zero_point_of(op)
    if not zero or padded:
        return bias, zero
    total = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    return (bias - zero * total).astype(bias.dtype), 0


def prove_no_overflow(op: Op, weight: Array, bias: Array, dtype: str, where: str) -> None:
    """Raise ``Unsupported`` if a partial sum of an integer product could overflow its accumulator."""
    if isinstance(op, IntegerProduct) and (channel := overflowing(weight, bias, dtype)) is not None:
        what = f"the accumulator of channel {channel} may overflow"
        raise Unsupported(what, where=where or None, advice="keep this layer in float32")


def folded_bias(weight: Array, bias: Array, zero_point: int, dtype: str) -> Array:
    """The bias of sums that take elements as they are; raises ``Decline`` if these may need more than 32 bits."""
    limits, magnitudes = np.iinfo(dtype), np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1)
    folded = bias - zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    if not limits.min <= zero_point <= limits.max:
        raise Decline("its zero point is no element")
    if (np.abs(folded) + magnitudes * max(-limits.min, limits.max)).max() >= 1 << 31:
        raise Decline("sums without the zero point may need more than 32 bits")
    return np.asarray(folded.astype(np.int32))
