"""Requantisation of weighted sums, which are scaled by a power of two: a shift, and no product.

    floor((acc * 2^k + 2^(t-1)) / 2^t) + zero point = (acc + 2^(r-1) + zero point * 2^r) >> r,    r = t - k

What is added goes into the offset of the sum, if that then stays in 32 bits whatever its operands are. Where there is
one operand, of 8 bits, other scales go into its factor too: that the result is the same is tried for all of its values.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op, TensorType, Trait, Value
from graphopt.ops import Requantize, WeightedSum
from graphopt.rewrite import Decline
from graphopt.targets.instructions import portable
from graphopt.targets.scalars import scalar_rule
from graphopt.targets.tir import Expr, cast

MOST_SHIFT, MOST_BITS = 31, 30
"""Of a shift; of a sum with a scale in its factor, beside the sign; one is left for what is rounded."""


class ShiftDown(Op):
    """clip(acc >> shift, low, high), in ``to``, of an int32.

    It stands in regions that are lowered, never in graphs, and has therefore no name of its own in the text form.
    """

    name: ClassVar[str] = Requantize.name
    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    shift: int
    low: int
    high: int
    to: str

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0].with_dtype(self.to)

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.clip(inputs[0] >> self.shift, self.low, self.high).astype(self.to))


@scalar_rule(ShiftDown, isa="c")
def shift_down(op: ShiftDown, acc: Expr) -> Expr:
    return clipped(tirx.shift_right(acc, splat(op.shift, acc)), op.low, op.high, op.to)


@scalar_rule(ShiftDown)
def shift_down_in_lanes(op: ShiftDown, acc: Expr) -> Expr:
    return clipped_in_lanes(tirx.shift_right(acc, splat(op.shift, acc)), op.low, op.high, op.to)


def clipped(x: Expr, low: int, high: int, to: str) -> Expr:
    """All of int8 or int16 is an instruction of its own; of other limits compilers make USAT where they can."""
    if (low, high, to) == (-128, 127, "int8"):
        return cast(portable.CLIP_INT8.call(x), to)
    if (low, high, to) == (-(1 << 15), (1 << 15) - 1, "int16"):
        return cast(portable.CLIP_INT16.call(x), to)
    return clipped_in_lanes(x, low, high, to)


def clipped_in_lanes(x: Expr, low: int, high: int, to: str) -> Expr:
    """Compilers make saturating packs of the two limits."""
    return cast(tirx.min(tirx.max(x, splat(low, x)), splat(high, x)), to)


def splat(value: int, like: Expr) -> Expr:
    return tirx.const(value, str(like.ty))


def shifted_down(op: Requantize, acc: Value, multiplier: Value, shift: Value) -> Value:
    """The form of a requantisation of a weighted sum; raises ``Decline`` where it has none."""
    if not isinstance(acc.op, WeightedSum) or acc.type.dtype != "int32":
        raise Decline("it scales no weighted sum of 32 bits")
    parts = [part.constant for part in (multiplier, shift)]
    numbers = [int(part.item()) for part in parts if part is not None and part.size == 1]
    if len(numbers) == len(parts) and [x.type.dtype for x in acc.node.inputs] in (["int8"], ["uint8"]):
        return scaled_at_once(op, acc.op, acc.node.inputs[0], *numbers)
    if len(numbers) != len(parts) or numbers[0] <= 0 or numbers[0] & (numbers[0] - 1):
        raise Decline("its multiplier is no power of two for all channels")
    down = numbers[1] - (numbers[0].bit_length() - 1)
    if not 0 < down <= MOST_SHIFT:
        raise Decline(f"it is shifted down by {down}")
    offset = acc.op.offset + (1 << (down - 1)) + (op.zero_point << down)
    least, greatest = ends_of(acc.op, acc.node.inputs)
    if not all(-(1 << 31) <= more + end < 1 << 31 for more in (0, offset) for end in (least, greatest)):
        raise Decline("with its zero point the sum may need more than 32 bits")
    total = WeightedSum(factors=acc.op.factors, offset=offset)(*acc.node.inputs)
    return ShiftDown(shift=down, low=op.low, high=op.high, to=op.to)(total)


def scaled_at_once(op: Requantize, acc: WeightedSum, x: Value, multiplier: int, shift: int) -> Value:
    """The form where a sum is of one operand of 8 bits: with the scale in its factor, in as many bits as there are."""
    limits = np.iinfo(x.type.dtype)
    values = np.arange(limits.min, limits.max + 1, dtype=x.type.dtype)
    wanted = op.evaluate(acc.evaluate(values), np.array(multiplier, np.int32), np.array(shift, np.int32))
    factor, offset = acc.factors[0] * multiplier, acc.offset * multiplier + (1 << shift >> 1) + (op.zero_point << shift)
    largest = max(abs(more + factor * end) for more in (0, offset) for end in (limits.min, limits.max))
    less = max(0, largest.bit_length() - MOST_BITS, shift - MOST_SHIFT)
    down = shift - less
    if down <= 0:
        raise Decline(f"it is shifted down by {down}")
    scaled = WeightedSum(factors=(factor + (1 << less >> 1) >> less,), offset=offset >> less)
    form = ShiftDown(shift=down, low=op.low, high=op.high, to=op.to)
    if not (form.evaluate(scaled.evaluate(values)) == wanted).all():
        raise Decline("a factor of 32 bits does not give the same")
    return form(scaled(x))


def ends_of(op: WeightedSum, operands: tuple[Value, ...]) -> tuple[int, int]:
    """The least and the greatest sum without the offset."""
    limits = [np.iinfo(x.type.dtype) for x in operands]
    products = [sorted((f * int(of.min), f * int(of.max))) for f, of in zip(op.factors, limits, strict=True)]
    return sum(low for low, _ in products), sum(high for _, high in products)
