"""The scalar rules of quantized arithmetic. Where these operators are made it is proved that nothing overflows."""

from __future__ import annotations

import numpy as np
from tvm import tirx

from graphopt import ops
from graphopt.rewrite import Decline
from graphopt.targets.instructions import portable
from graphopt.targets.scalars import constant, scalar_rule
from graphopt.targets.tir import Expr, Point, Tensor, cast, lanewise


def accumulator_of(*operands: Expr) -> str:
    return "int64" if any(str(x.ty).startswith("int16") for x in operands) else "int32"


@scalar_rule(ops.WeightedSum)
def weighted_sum(op: ops.WeightedSum, *operands: Expr) -> Expr:
    wide = accumulator_of(*operands)
    total: Expr = None
    for x, factor in zip(operands, op.factors, strict=True):
        x = cast(x, wide)
        term = x if factor == 1 else x * constant(factor, x)
        total = term if total is None else total + term
    return total + constant(op.offset, total) if op.offset else total


@scalar_rule(ops.MulInteger)
def mul_integer(op: ops.MulInteger, a: Expr, b: Expr) -> Expr:
    wide = accumulator_of(a, b)
    a, b = cast(a, wide), cast(b, wide)
    return (a - constant(op.a_zero_point, a)) * (b - constant(op.b_zero_point, b))


@scalar_rule(ops.Lookup)
def lookup(op: ops.Lookup, x: Expr, table: Tensor) -> Expr:
    """Every int8 or uint8 has its place among the 256 elements; lanes are looked up one by one."""
    lowest = int(np.iinfo(str(x.ty).partition("x")[0]).min)

    def element(one: Expr) -> Expr:
        return table.load(Point((cast(one, "int32") - lowest,)))

    return lanewise(element)(x)


@scalar_rule(ops.FlipSign)
def flip_sign(op: ops.FlipSign, x: Expr) -> Expr:
    other = "int8" if str(x.ty).startswith("uint8") else "uint8"
    return cast(tirx.bitwise_xor(cast(x, "uint8"), constant(0x80, cast(x, "uint8"))), other)


@scalar_rule(ops.IntegerSqrt)
def integer_sqrt(op: ops.IntegerSqrt, x: Expr) -> Expr:
    return cast(tirx.sqrt(cast(x, "float64")), "int64")


@scalar_rule(ops.IntegerSqrt, isa="c")
def integer_sqrt_by_bits(op: ops.IntegerSqrt, x: Expr) -> Expr:
    """Cores without float64 would take that of a library."""
    return portable.INTEGER_SQRT.call(x)


@scalar_rule(ops.Requantize)
def requantize(op: ops.Requantize, acc: Expr, multiplier: Expr, shift: Expr) -> Expr:
    """In 64 bits; products of an int64 accumulator may need more, and go by its halves."""
    m, t = cast(multiplier, "int64"), cast(shift, "int64")
    one = constant(1, t)
    half = tirx.shift_left(one, t - one)
    if str(acc.ty).startswith("int32"):
        scaled = tirx.shift_right(cast(acc, "int64") * m + half, t)
    else:
        sixteen = constant(16, t)
        upper, lower = tirx.shift_right(acc, sixteen), tirx.bitwise_and(acc, constant(0xFFFF, acc))
        scaled = tirx.shift_right(upper * m + tirx.shift_right(lower * m + half, sixteen), t - sixteen)
    scaled = scaled + constant(op.zero_point, scaled)
    return cast(tirx.min(tirx.max(scaled, constant(op.low, scaled)), constant(op.high, scaled)), op.to)


@scalar_rule(ops.Requantize, isa="c")
def requantize_by_helper(op: ops.Requantize, acc: Expr, multiplier: Expr, shift: Expr) -> Expr:
    """By a function of the C, which takes the upper half of the product alone where that is enough."""
    if not str(acc.ty).startswith("int32"):
        raise Decline(f"its accumulator is {acc.ty}")
    limits = (tirx.const(n, "int32") for n in (op.zero_point, op.low, op.high))
    return cast(portable.REQUANTIZE.call(acc, multiplier, shift, *limits), op.to)
