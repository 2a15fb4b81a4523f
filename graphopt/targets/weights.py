"""Weights in flash: how each form packs them, and how a kernel reads them back.

A kernel lays the weights of a layer in the order in which it reads them. What of each is stored is up to the form of
the constant (``graphopt.ops.stored_form``); the kernel sees numbers in the dtype of its accumulator. Kernels by
instructions that want whole weights in words of their own (two of 16 bits, with the scaling of a channel between them)
pack these themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Value
from graphopt.ops import SCALE_GROUP, StoredForm, factors_of, stored_form
from graphopt.ops.two_level import factors_shape, over_channels
from graphopt.rewrite import Decline
from graphopt.targets.instructions import portable
from graphopt.targets.tir import Expr, Point, Tensor, cast

Order = Callable[[Array], Array]
"""From weights [o, i, ...], or factors [o, groups, 1, ...], to one row in the order of a kernel."""


@dataclass(frozen=True)
class WeightPlace:
    """Elements that lie side by side in the order of a kernel, and the factors of the same channels."""

    element: Expr
    lanes: int = 1
    factor: Expr = 0


class Storage:
    """Weights as they are: one array of elements."""

    whole: ClassVar[bool] = True
    by_channel: ClassVar[bool] = False
    """Whether a place needs its ``factor``."""

    def pack(self, weight: Array, order: Order = np.ravel) -> dict[str, Array]:
        """The arrays to store, by name."""
        return {"weight": self.encode(np.ascontiguousarray(order(weight)).ravel())}

    def load(self, packed: Mapping[str, Tensor], at: WeightPlace, dtype: str, codegen: str) -> Expr:
        """Weights from what ``pack`` gave, in the dtype of the accumulator."""
        return self.decode(packed["weight"], at, dtype, codegen)

    def encode(self, row: Array) -> Array:
        return row

    def decode(self, packed: Tensor, at: WeightPlace, dtype: str, codegen: str) -> Expr:
        return cast(packed.load(Point((at.element,), 0, at.lanes)), dtype)


class Half(Storage):
    """Floats in two bytes."""

    whole = False

    def encode(self, row: Array) -> Array:
        return row.astype(np.float16).view(np.uint16)

    def decode(self, packed: Tensor, at: WeightPlace, dtype: str, codegen: str) -> Expr:
        return cast(float_of_half(packed.load(Point((at.element,), 0, at.lanes)), at.lanes, codegen), dtype)


@dataclass(frozen=True)
class Codes(Storage):
    """Integers of ``bits`` bits, the first of a byte in its lowest ones."""

    whole = False

    bits: int

    def encode(self, row: Array) -> Array:
        per_byte = 8 // self.bits
        rows = np.pad(self.code(row), (0, -len(row) % per_byte)).reshape(-1, per_byte)
        shifted = rows << (self.bits * np.arange(per_byte, dtype=np.uint8))
        return np.asarray(np.bitwise_or.reduce(shifted, axis=1), np.uint8)

    def decode(self, packed: Tensor, at: WeightPlace, dtype: str, codegen: str) -> Expr:
        index = at.element if at.lanes == 1 else tirx.Ramp(at.element, 1, at.lanes)
        per_byte = splat(8 // self.bits, at.lanes)
        byte = cast(packed.buffer[tirx.floordiv(index, per_byte)], "int32")
        return cast(self.number(byte, tirx.floormod(index, per_byte), at.lanes), dtype)

    def code(self, row: Array) -> Array:
        """The bits of each weight."""
        raise NotImplementedError

    def number(self, byte: Expr, place: Expr, lanes: int) -> Expr:
        """The weight whose code is the one at ``place`` in a byte."""
        raise NotImplementedError


class Nibbles(Codes):
    """Four bits of two's complement."""

    def code(self, row: Array) -> Array:
        return (row & 15).astype(np.uint8)

    def number(self, byte: Expr, place: Expr, lanes: int) -> Expr:
        up = splat(28, lanes) - place * 4
        return tirx.shift_right(tirx.shift_left(byte, up), splat(28, lanes))


class Bits(Codes):
    """One bit: 0 is +1 and 1 is -1."""

    def code(self, row: Array) -> Array:
        return (row < 0).astype(np.uint8)

    def number(self, byte: Expr, place: Expr, lanes: int) -> Expr:
        one = splat(1, lanes)
        return one - tirx.bitwise_and(tirx.shift_right(byte, place), one) * 2


class Grouped(Nibbles):
    """Nibbles to be multiplied by the factors of their groups."""

    by_channel = True

    def pack(self, weight: Array, order: Order = np.ravel) -> dict[str, Array]:
        factors = factors_of(weight)
        assert factors is not None
        column = factors.reshape(*factors.shape, *[1] * (weight.ndim - 2))
        return {"factors": np.ascontiguousarray(order(column)).ravel()} | super().pack(
            weight // over_channels(factors, weight), order
        )

    def load(self, packed: Mapping[str, Tensor], at: WeightPlace, dtype: str, codegen: str) -> Expr:
        factor = cast(packed["factors"].load(Point((at.factor,), 0, at.lanes)), dtype)
        return super().load(packed, at, dtype, codegen) * factor


WHOLE = Storage()
STORAGES = {
    StoredForm.WHOLE: WHOLE,
    StoredForm.HALF: Half(),
    StoredForm.NIBBLES: Nibbles(4),
    StoredForm.GROUPED: Grouped(4),
    StoredForm.BITS: Bits(1),
}


def storage_of(weight: Value) -> Storage:
    return STORAGES[stored_form(weight)]


def expect_whole(weight: Value) -> None:
    """Raise ``Decline`` unless the weights are stored as they are."""
    if not storage_of(weight).whole:
        raise Decline(f"its weights are stored as {stored_form(weight).value}")


def place_in_rows(index: Sequence[Expr], shape: Sequence[int]) -> WeightPlace:
    """Where an element of weights of a shape is that are stored row-major."""
    element: Expr = 0
    for position, size in zip(index, shape, strict=True):
        element = element * size + position
    _, groups = factors_shape(shape)
    return WeightPlace(element, 1, index[0] * groups + tirx.floordiv(index[1], SCALE_GROUP))


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
