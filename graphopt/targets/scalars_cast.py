"""The scalar rule of casts: of floats to integers as ``graphopt.ops.Cast`` defines it, on every machine."""

from __future__ import annotations

import math

import numpy as np
from tvm import tirx

from graphopt import ops
from graphopt.targets.scalars import constant, number, scalar_rule
from graphopt.targets.tir import Expr, is_float
from graphopt.targets.tir import cast as cast_to


@scalar_rule(ops.Cast)
def cast(op: ops.Cast, x: Expr) -> Expr:
    if op.to == "bool":
        if str(x.ty).startswith("bool"):
            return x
        # in LLVM's comparison, NaN differs from nothing
        return tirx.Or(tirx.NE(x, constant(0, x)), tirx.isnan(x)) if is_float(x) else tirx.NE(x, constant(0, x))
    if not is_float(x) or op.to.startswith("float"):
        return cast_to(x, op.to)
    bits = max(32, np.iinfo(op.to).bits)
    if op.to in ("uint32", "uint64"):
        return unsigned(x, bits)
    return cast_to(signed(x, bits), op.to)


def signed(x: Expr, bits: int) -> Expr:
    """x truncated to an integer of ``bits`` bits; the lowest integer if x does not fit or is NaN.

    If x is known to fit, the comparison is left out: C and LLVM leave the cast undefined only for floats that do not.
    """
    most = 2.0 ** (bits - 1)
    known = bounds(x)
    if known is None or known[0] < -most or known[1] >= most:
        x = tirx.Select(tirx.abs(x) < constant(most, x), x, constant(-most, x))
    return cast_to(x, f"int{bits}")


def unsigned(x: Expr, bits: int) -> Expr:
    """x as an unsigned integer; the upper half of the range is cast by way of the lower; negative numbers wrap."""
    half = constant(2.0 ** (bits - 1), x)
    upper = x >= half
    low = cast_to(signed(tirx.Select(upper, x - half, x), bits), f"uint{bits}")
    return low + tirx.Select(upper, constant(1 << (bits - 1), low), constant(0, low))


def bounds(x: Expr) -> tuple[float, float] | None:
    """The bounds of a float, from the form of its expression; None if it may be NaN."""
    match x:
        case tirx.FloatImm() | tirx.Broadcast():
            value = number(x)
            return None if value is None or math.isnan(value) else (value, value)
        case tirx.Cast() if "int" in str(x.value.ty):
            limits = np.iinfo(str(x.value.ty).partition("x")[0])
            return float(limits.min), float(limits.max)
        case tirx.Select() if isinstance(x.condition, tirx.GT):  # a > c ? a : c is c where a is NaN
            a, low = x.condition.a, number(x.condition.b)
            if low is not None and a.same_as(x.true_value) and number(x.false_value) == low:
                return low, math.inf
        case tirx.Max() | tirx.Min():
            a, b = bounds(x.a), bounds(x.b)
            pick = max if isinstance(x, tirx.Max) else min
            return None if a is None or b is None else (pick(a[0], b[0]), pick(a[1], b[1]))
    return None
