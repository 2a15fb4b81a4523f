"""Requantisation by the upper half of a product alone: three instructions on a core with DSP, and exactly the same.

For a shift t of 33 or more, floor((acc * m + 2^(t-1)) / 2^t) + zero point is

    (upper(acc * m) + C) >> (t - 32),    C = 2^(t-33) + zero_point * 2^(t-32)

where upper is the upper half of the product in 64 bits: C has no bits in the lower half, so nothing is carried out of
it. ``tests/proofs/test_requantize.py`` proves it for all products, and all shifts and zero points that C has room for.
"""

from __future__ import annotations

import operator
from contextlib import suppress
from typing import ClassVar

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op, TensorType, Trait, Value, constant
from graphopt.ops import Cast, ConvInteger, ConvTransposeInteger, LinearInteger, Requantize, WeightedSum
from graphopt.rewrite import Decline
from graphopt.targets.forms import form_rule
from graphopt.targets.instructions import portable
from graphopt.targets.requantize_sums import clipped, clipped_in_lanes, shifted_down, splat
from graphopt.targets.scalars import scalar_rule
from graphopt.targets.tir import Expr, cast, lanes_of

INT32 = -(1 << 31), (1 << 31) - 1
LEAST_SHIFT = 33
MOST_ADDEND = 1 << 30
"""The upper half of a product with a multiplier of 31 bits is of at most this magnitude: with C, it fits int32."""

Bounds = tuple[Array, Array]
"""The least and the greatest accumulator, int64, of a shape that broadcasts to it."""


class RequantizeUpper(Op):
    """clip((upper(acc * multiplier) + addend) >> shift, low, high), in ``to``.

    acc, multiplier and addend are int32, shift is uint8; they broadcast to acc. It stands in regions that are lowered,
    never in graphs, and has therefore no name of its own in the text form.
    """

    name: ClassVar[str] = Requantize.name
    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    low: int
    high: int
    to: str

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0].with_dtype(self.to)

    def evaluate(self, *inputs: Array) -> Array:
        acc, multiplier, addend, shift = (a.astype(np.int64) for a in inputs)
        scaled = ((acc * multiplier >> 32) + addend) >> shift
        return np.asarray(np.clip(scaled, self.low, self.high).astype(self.to))


@scalar_rule(RequantizeUpper)
def requantize_upper(op: RequantizeUpper, acc: Expr, multiplier: Expr, addend: Expr, shift: Expr) -> Expr:
    upper = portable.MULTIPLY_UPPER.call(acc, multiplier, addend)
    return clipped(tirx.shift_right(upper, cast(shift, "int32")), op.low, op.high, op.to)


@scalar_rule(RequantizeUpper, isa="x86")
def requantize_upper_in_lanes(op: RequantizeUpper, acc: Expr, multiplier: Expr, addend: Expr, shift: Expr) -> Expr:
    """Of vectors by products of every second lane, PMULDQ, which are the upper halves where they lie, or one beside."""
    upper = upper_in_lanes if lanes_of(acc) >= LEAST_LANES else upper_of_product
    scaled = tirx.shift_right(upper(acc, multiplier) + addend, cast(shift, "int32"))
    return clipped_in_lanes(scaled, op.low, op.high, op.to)


@scalar_rule(RequantizeUpper, isa="neon64")
def requantize_upper_by_long_products(
    op: RequantizeUpper, acc: Expr, multiplier: Expr, addend: Expr, shift: Expr
) -> Expr:
    """By SMULL and SMULL2, of whose results UZP2 takes the upper halves."""
    scaled = tirx.shift_right(upper_of_product(acc, multiplier) + addend, cast(shift, "int32"))
    return cast(tirx.min(tirx.max(scaled, splat(op.low, acc)), splat(op.high, acc)), op.to)


LEAST_LANES = 4
"""Of the narrowest vector that PMULDQ has."""


def upper_of_product(a: Expr, b: Expr) -> Expr:
    product = cast(a, "int64") * cast(b, "int64")
    return cast(tirx.shift_right(product, splat(32, product)), "int32")


def upper_in_lanes(a: Expr, b: Expr) -> Expr:
    """The upper halves of the products of int32 in an even number of lanes.

    LLVM takes PMULDQ where it sees, beside the product, that factors are sign-extended, as it does in this form.
    """
    lanes = lanes_of(a)
    wide, bits = f"int64x{lanes // 2}", tirx.const(32, f"int64x{lanes // 2}")

    def products(first: Expr, second: Expr) -> Expr:
        extended = (tirx.shift_right(tirx.shift_left(tirx.reinterpret(wide, x), bits), bits) for x in (first, second))
        return tirx.reinterpret(f"int32x{lanes}", operator.mul(*extended))

    def odd(x: Expr) -> Expr:
        return tirx.Shuffle([x], [lane | 1 for lane in range(lanes)])

    halves = [products(a, b), products(odd(a), odd(b))]
    return tirx.Shuffle(halves, [lane | 1 if lane % 2 == 0 else lanes + lane for lane in range(lanes)])


@form_rule(Requantize, isa="x86")
def by_upper_half_in_32_bits(op: Requantize, acc: Value, multiplier: Value, shift: Value) -> Value:
    """``by_upper_half``, of sums in 64 bits too if they are proved to need 32."""
    return by_upper_half(op, narrowed(acc), multiplier, shift)


def narrowed(acc: Value) -> Value:
    """An accumulator in int32, if it is a sum of which the bounds are known and allow it."""
    op = acc.op
    if acc.type.dtype != "int64" or not isinstance(op, WeightedSum):
        return acc
    most = abs(op.offset)
    for x, factor in zip(acc.node.inputs, op.factors, strict=True):
        limits = np.iinfo(x.type.dtype)
        most += abs(factor) * max(-int(limits.min), int(limits.max))
    return Cast(to="int32")(acc) if most <= INT32[1] else acc


@form_rule(Requantize, isa="neon64")
@form_rule(Requantize, isa="c")
def by_upper_half(op: Requantize, acc: Value, multiplier: Value, shift: Value) -> Value:
    """The form of a requantisation by constants that allow it, each channel for itself; of weighted sums, a shift."""
    with suppress(Decline):
        return shifted_down(op, acc, multiplier, shift)
    if acc.type.dtype != "int32":
        raise Decline(f"its accumulator is {acc.type.dtype}")
    if multiplier.constant is None or shift.constant is None:
        raise Decline("its multiplier or shift is computed at run time")
    bounds = hull(bounds_of(acc), multiplier.type.static_shape, len(acc.type.static_shape))
    parts = np.broadcast_arrays(multiplier.constant.astype(object), shift.constant.astype(object), *bounds)
    found: list[tuple[int, int, int]] = []
    for channel, numbers in enumerate(zip(*(part.ravel() for part in parts), strict=True)):
        try:
            found.append(constants_of(op.zero_point, *map(int, numbers)))
        except Decline as why:
            raise Decline(f"channel {channel}: {why}") from why
    multipliers, addends, shifts = (
        column(numbers, parts[0].shape, dtype)
        for numbers, dtype in zip(zip(*found, strict=True), ("int32", "int32", "uint8"), strict=True)
    )
    added = constant(addends, f"{multiplier.node.name.removesuffix('multiplier')}addend")
    new = RequantizeUpper(low=op.low, high=op.high, to=op.to)
    return new(acc, constant(multipliers, like=multiplier), added, constant(shifts, like=shift))


def column(numbers: tuple[int, ...], shape: tuple[int, ...], dtype: str) -> Array:
    """Constants of all channels; one number where they are equal."""
    data = np.array(numbers, dtype)
    return data[0] if (data == data[0]).all() else data.reshape(shape)


def constants_of(
    zero_point: int, multiplier: int, shift: int, least: int, greatest: int, most: int = MOST_ADDEND
) -> tuple[int, int, int]:
    """Multiplier, addend of at most ``most`` and shift beyond 32, with accumulators from ``least`` to ``greatest``.

    Where the shift is too large, both are shifted down if no accumulator in that range gives another number.
    """
    if multiplier < 0:
        raise Decline(f"its multiplier {multiplier} is negative")
    if shift < LEAST_SHIFT:
        raise Decline(f"its shift {shift} is below {LEAST_SHIFT}")
    fitting = shift
    while abs(addend(zero_point, fitting)) > most:
        fitting -= 1
        if fitting < LEAST_SHIFT:
            raise Decline(f"its zero point {zero_point} is too large")
    down = shift - fitting
    smaller = (multiplier + (1 << down >> 1)) >> down
    if down and not alike((multiplier, shift), (smaller, fitting), least, greatest):
        raise Decline(f"its shift {shift} is too large, and a smaller one is not proved to give the same")
    return smaller, addend(zero_point, fitting), fitting - 32


def addend(zero_point: int, shift: int) -> int:
    return (1 << (shift - LEAST_SHIFT)) + (zero_point << (shift - 32))


def alike(one: tuple[int, int], other: tuple[int, int], least: int, greatest: int) -> bool:
    """Whether two multipliers with their shifts give the same for all accumulators of a range.

    Both grow with the accumulator: they do if they have the same values at the ends, and between them go up at the same
    places.
    """
    low, high = scaled(one, least), scaled(one, greatest)
    if (low, high) != (scaled(other, least), scaled(other, greatest)):
        return False
    return all(reaching(one, value) == reaching(other, value) for value in range(low + 1, high + 1))


def scaled(by: tuple[int, int], acc: int) -> int:
    multiplier, shift = by
    return (acc * multiplier + (1 << (shift - 1))) >> shift


def reaching(by: tuple[int, int], value: int) -> int:
    """The least accumulator that is scaled to a value or more, by a multiplier that is not 0."""
    multiplier, shift = by
    return -(((1 << (shift - 1)) - (value << shift)) // multiplier)


def bounds_of(acc: Value) -> Bounds:
    """What an accumulator may be: of a product with constant weights from these, of any other all of int32."""
    op = acc.op
    if not isinstance(op, ConvInteger | ConvTransposeInteger | LinearInteger):
        return np.array(INT32[0]), np.array(INT32[1])
    x, w, b = acc.node.inputs
    if w.constant is None or b.constant is None:
        return np.array(INT32[0]), np.array(INT32[1])
    limits = np.iinfo(x.type.dtype)
    below, above = min(limits.min - op.zero_point, 0), max(limits.max - op.zero_point, 0)  # padding counts as 0
    by_channel = w.constant
    if isinstance(op, ConvTransposeInteger):  # [c, o / group, ...]; a result sums some of its taps
        parts = by_channel.reshape(op.group, -1, *by_channel.shape[1:])
        by_channel = parts.swapaxes(1, 2).reshape(op.group * by_channel.shape[1], -1)
    weight = by_channel.astype(np.int64).reshape(len(by_channel), -1)
    up, down = np.maximum(weight, 0).sum(axis=1), np.minimum(weight, 0).sum(axis=1)
    column = (-1,) if isinstance(op, LinearInteger) else (-1, *(1,) * (acc.type.rank - 2))
    bias = b.constant.astype(np.int64)
    return (bias + below * up + above * down).reshape(column), (bias + above * up + below * down).reshape(column)


def hull(bounds: Bounds, shape: tuple[int, ...], rank: int) -> Bounds:
    """The bounds by element of ``shape``: over all that one element is broadcast to."""
    extra = rank - len(shape)
    axes = (*range(extra), *(extra + axis for axis, size in enumerate(shape) if size == 1))
    wide = [data.reshape((1,) * (rank - data.ndim) + data.shape) for data in bounds]
    least, greatest = wide[0].min(axis=axes, keepdims=True), wide[1].max(axis=axes, keepdims=True)
    return least.reshape(least.shape[extra:]), greatest.reshape(greatest.shape[extra:])
