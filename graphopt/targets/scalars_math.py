"""The scalar rules of mathematics, activations, logic and bits."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx
from tvm_ffi import structural_equal

from graphopt import ops
from graphopt.ir import Op
from graphopt.targets.scalars import check_divisor, constant, scalar_rule
from graphopt.targets.tir import Expr, is_float, lanewise


def unary(function: Callable[[Expr], Expr]) -> Callable[[Op, Expr], Expr]:
    return lambda op, x: function(x)


FUNCTIONS: dict[type[Op], Callable[[Expr], Expr]] = {
    ops.Ceil: tirx.ceil,
    ops.Floor: tirx.floor,
    ops.Round: tirx.nearbyint,
    ops.Tan: tirx.tan,
    ops.Asin: lanewise(tirx.asin),
    ops.Acos: lanewise(tirx.acos),
    ops.Atan: lanewise(tirx.atan),
    ops.Sinh: lanewise(tirx.sinh),
    ops.Cosh: lanewise(tirx.cosh),
    ops.Asinh: lanewise(tirx.asinh),
    ops.Acosh: lanewise(tirx.acosh),
    ops.Atanh: lanewise(tirx.atanh),
}
for _operator, _function in FUNCTIONS.items():
    scalar_rule(_operator)(unary(_function))


def select(condition: Expr, yes: Expr, no: Expr) -> Expr:
    return tirx.Select(condition, yes, no)


def sign(x: Expr) -> Expr:
    """-1, 0 or 1; x itself if it is neither above nor below 0, so that NaN stays NaN."""
    zero, one = constant(0, x), constant(1, x)
    if str(x.ty).startswith("uint"):
        return select(x > zero, one, zero)
    return select(x > zero, one, select(x < zero, constant(-1, x), x))


scalar_rule(ops.Reciprocal)(lambda op, x: constant(1.0, x) / x)
scalar_rule(ops.Sign)(unary(sign))
scalar_rule(ops.Softsign)(lambda op, x: x / (constant(1.0, x) + tirx.abs(x)))
scalar_rule(ops.ThresholdedRelu)(lambda op, x: select(x > constant(op.alpha, x), x, constant(0.0, x)))
scalar_rule(ops.PRelu)(lambda op, x, slope: select(x < constant(0, x), slope * x, x))


@scalar_rule(ops.Shrink)
def shrink(op: ops.Shrink, x: Expr) -> Expr:
    bias, limit = constant(op.bias, x), constant(op.lambd, x)
    low = constant(-op.lambd, x)
    return select(x < low, x + bias, select(x > limit, x - bias, constant(0.0, x)))


def opposite(x: Expr) -> Expr:
    """Whether x is false. TVM simplifies not (a < b) to b <= a, but for NaN both comparisons are false."""
    return select(x, constant(False, x), constant(True, x))


def equal(a: Expr, b: Expr) -> Expr:
    """a == b. TVM simplifies x == x to true, which is wrong for NaN."""
    return opposite(tirx.isnan(a)) if is_float(a) and structural_equal(a, b) else tirx.EQ(a, b)


COMPARISONS: dict[type[Op], Callable[[Expr, Expr], Expr]] = {
    ops.Equal: equal,
    ops.Less: tirx.LT,
    ops.LessOrEqual: tirx.LE,
    ops.Greater: tirx.GT,
    ops.GreaterOrEqual: tirx.GE,
    ops.And: tirx.And,
    ops.Or: tirx.Or,
    ops.Xor: lambda a, b: tirx.Or(tirx.And(a, opposite(b)), tirx.And(opposite(a), b)),
}
for _operator, _compare in COMPARISONS.items():
    scalar_rule(_operator)(lambda op, a, b, compare=_compare: compare(a, b))

scalar_rule(ops.Not)(unary(opposite))
scalar_rule(ops.BitwiseAnd)(lambda op, a, b: tirx.bitwise_and(a, b))
scalar_rule(ops.BitwiseOr)(lambda op, a, b: tirx.bitwise_or(a, b))
scalar_rule(ops.BitwiseXor)(lambda op, a, b: tirx.bitwise_xor(a, b))
scalar_rule(ops.BitwiseNot)(lambda op, x: tirx.bitwise_not(x))


@scalar_rule(ops.ShiftLeft)
def shift_left(op: ops.ShiftLeft, a: Expr, b: Expr) -> Expr:
    """a << b. A shift by all bits or more gives 0; C leaves such shifts undefined."""
    count, _ = inside(a, b)
    return select(tirx.EQ(count, b), tirx.shift_left(a, count), constant(0, a))


@scalar_rule(ops.ShiftRight)
def shift_right(op: ops.ShiftRight, a: Expr, b: Expr) -> Expr:
    count, most = inside(a, b)
    beyond = constant(0, a) if str(a.ty).startswith("uint") else tirx.shift_right(a, most)
    return select(tirx.EQ(count, b), tirx.shift_right(a, count), beyond)


def inside(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """The shift b limited to [0, bits of a - 1], and the upper limit."""
    most = constant(int("".join(c for c in str(a.ty).split("x")[0] if c.isdigit())) - 1, b)
    return tirx.max(tirx.min(b, most), constant(0, b)), most


scalar_rule(ops.Where)(lambda op, condition, a, b: select(condition, a, b))
# x != x would be simplified to false
scalar_rule(ops.IsNan)(lambda op, x: tirx.isnan(x))


@scalar_rule(ops.IsInf)
def is_inf(op: ops.IsInf, x: Expr) -> Expr:
    wanted = [tirx.EQ(x, constant(float("inf"), x))] if op.positive else []
    wanted += [tirx.EQ(x, constant(float("-inf"), x))] if op.negative else []
    if not wanted:
        return tirx.LT(x, constant(-math.inf, x))
    return wanted[0] if len(wanted) == 1 else tirx.Or(*wanted)


def fmod(a: Expr, b: Expr) -> Expr:
    """The remainder of floats, from the C library: LLVM has no function for it."""
    dtype = str(a.ty)
    return tirx.call_pure_extern(dtype, "fmodf" if dtype == "float32" else "fmod", a, b)


@scalar_rule(ops.Mod)
def mod(op: ops.Mod, a: Expr, b: Expr) -> Expr:
    if str(a.ty).startswith("float"):
        return lanewise(fmod)(a, b)
    rest = tirx.truncmod(a, check_divisor(b))
    if op.fmod or str(a.ty).startswith("uint"):
        return rest
    zero = constant(0, a)
    crossed = tirx.And(tirx.NE(rest, zero), tirx.bitwise_xor(rest, b) < zero)
    return select(crossed, rest + b, rest)
