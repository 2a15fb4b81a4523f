"""What kernels of quantized tensors share: widening, zero points, and the proof that accumulators do not overflow."""

from __future__ import annotations

import numpy as np
from tvm import tirx

from graphopt.errors import Unsupported
from graphopt.ir import Array, Op
from graphopt.ops import IntegerProduct, factors_of, fits_half, overflowing
from graphopt.targets.instructions import portable
from graphopt.targets.tir import Expr, Point, Tensor, cast


def widened(x: Expr, zero_point: int = 0, *, dtype: str) -> Expr:
    """An element in the dtype of the accumulator, centred on its zero point; floats as they are."""
    wide = cast(x, dtype)
    return wide - zero_point if zero_point else wide


def zero_point_of(op: Op) -> int:
    """The zero point of what a product or a sum reads; 0 for the forms on reals."""
    return int(getattr(op, "zero_point", 0))


HALF = 16
"""The bits of float16."""


def bits_of(op: Op, weight: Array) -> int:
    """The bits in which the weights of a product are stored; 8 also for floats as they are, 16 for those of float16."""
    if getattr(op, "half", False) and fits_half(weight):
        return HALF
    if getattr(op, "grouped", False) and factors_of(weight) is None:
        return 8
    return int(getattr(op, "bits", 8))


def grouped_factors(op: Op, weight: Array) -> Array | None:
    """The factors of the weights of a product that are stored apart; None where there are none."""
    return factors_of(weight) if getattr(op, "grouped", False) else None


def pack_bits(weight: Array, bits: int) -> Array:
    """Weights in one row: as they are, as float16, or of 4 or 1 bits side by side in bytes.

    The first of a byte is in its lowest bits. 4 bits are two's complement; of 1 bit, 0 is +1 and 1 is -1.
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
    """Weights from ``element`` on, of those that ``pack_bits`` put in a row, in the dtype of the accumulator."""
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
    """The float32 of the bits of a finite float16: its fields moved, its exponent biased by 112 more.

    Zero and subnormal numbers get a leading one, 2^-14, which is then subtracted: no float32 is subnormal on the way,
    so nothing depends on whether the core flushes such to zero. In C a helper does the same, and can be read.
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
    """An integer constant in so many lanes."""
    return tirx.const(value, dtype if lanes == 1 else f"{dtype}x{lanes}")


def folded_zero_point(op: Op, weight: Array, bias: Array, padded: bool) -> tuple[Array, int]:
    """The bias with the zero point in it, and the zero point that the loops then still subtract.

    Without padding every window sums all its weights, so b + sum (x - z) w = (b - z sum w) + sum x w.
    """
    zero = zero_point_of(op)
    if not zero or padded:
        return bias, zero
    total = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    return (bias - zero * total).astype(bias.dtype), 0


def prove_no_overflow(op: Op, weight: Array, bias: Array, dtype: str, where: str) -> None:
    """Raise ``Unsupported`` unless no partial sum of an integer product can leave its accumulator."""
    if isinstance(op, IntegerProduct) and (channel := overflowing(weight, bias, dtype)) is not None:
        what = f"the accumulator of channel {channel} may overflow"
        raise Unsupported(what, where=where or None, advice="keep this layer in float32")
