"""The rules of the aten operators that compute element by element, beyond plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import emit
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.ir import Op, Value

FUNCTIONS: dict[str, type[Op]] = {
    "acos": ops.Acos,
    "acosh": ops.Acosh,
    "asin": ops.Asin,
    "asinh": ops.Asinh,
    "atan": ops.Atan,
    "atanh": ops.Atanh,
    "cos": ops.Cos,
    "cosh": ops.Cosh,
    "erf": ops.Erf,
    "exp": ops.Exp,
    "log": ops.Log,
    "mish": ops.Mish,
    "reciprocal": ops.Reciprocal,
    "selu": ops.Selu,
    "sigmoid": ops.Sigmoid,
    "silu": ops.Silu,
    "sin": ops.Sin,
    "sinh": ops.Sinh,
    "sqrt": ops.Sqrt,
    "tan": ops.Tan,
    "tanh": ops.Tanh,
}
"""Functions of floats; torch turns integers into floats before them."""

for _name, _op in FUNCTIONS.items():
    aten_rule(f"{_name}.default")(lambda at, x, op=_op: at.emit(op(), at.operand(x, "input")))

ROUNDINGS: dict[str, type[Op]] = {"ceil": ops.Ceil, "floor": ops.Floor, "round": ops.Round}
for _name, _op in ROUNDINGS.items():
    aten_rule(f"{_name}.default")(lambda at, x, op=_op: at.emit(op(), x) if x.type.is_float else x)

SAME: dict[str, type[Op]] = {"abs": ops.Abs, "neg": ops.Neg, "relu": ops.Relu, "sign": ops.Sign, "sgn": ops.Sign}
for _name, _op in SAME.items():
    aten_rule(f"{_name}.default")(lambda at, x, op=_op: at.emit(op(), x))


@aten_rule("gelu.default")
def gelu(at: AtenNode, x: Value, approximate: str) -> Value:
    return at.emit(ops.Gelu(tanh=approximate == "tanh"), x)


@aten_rule("elu.default")
def elu(at: AtenNode, x: Value, alpha: float, scale: float, input_scale: float) -> Value:
    """scale * (x or alpha * (exp(input_scale * x) - 1)): of its three settings, modules set the first."""
    if input_scale != 1:
        raise Unsupported("elu with an input_scale", advice="multiply its input instead")
    y = at.emit(ops.Elu(alpha=float(alpha)), x, part="" if scale == 1 else "elu")
    return y if scale == 1 else emit(at, ops.Mul(), y, scale)


@aten_rule("celu.default")
def celu(at: AtenNode, x: Value, alpha: float) -> Value:
    return at.emit(ops.Celu(alpha=float(alpha)), x)


@aten_rule("softplus.default")
def softplus(at: AtenNode, x: Value, beta: float, threshold: float) -> Value:
    """log(1 + exp(beta * x)) / beta; where torch takes x from the threshold on, the two agree to its precision."""
    if threshold < 15:
        raise Unsupported(f"softplus with a threshold of {threshold}", advice="use the default")
    if beta == 1:
        return at.emit(ops.Softplus(), x)
    inner = at.emit(ops.Softplus(), emit(at, ops.Mul(), x, beta, part="scaled"), part="softplus")
    return emit(at, ops.Div(), inner, beta)


@aten_rule("log_sigmoid.default")
def log_sigmoid(at: AtenNode, x: Value) -> Value:
    negated = at.emit(ops.Neg(), x, part="negated")
    return at.emit(ops.Neg(), at.emit(ops.Softplus(), negated, part="softplus"))


@aten_rule("prelu.default")
def prelu(at: AtenNode, x: Value, slope: Value) -> Value:
    """The slope is by channel, axis 1."""
    if x.type.rank > 2 and slope.type.rank == 1:
        slope = normal.reshape(at, slope, (*slope.type.shape, *(1,) * (x.type.rank - 2)), "slope")
    return at.emit(ops.PRelu(), x, slope)


@aten_rule("rrelu.default")
def rrelu(at: AtenNode, x: Value, low: float, high: float, training: bool, generator: Any) -> Value:
    if training:
        raise Unsupported("rrelu in training mode", advice="export in eval mode")
    return at.emit(ops.LeakyRelu(alpha=(low + high) / 2), x)


@aten_rule("hypot.default")
def hypot(at: AtenNode, a: Value, b: Value) -> Value:
    squares = [at.emit(ops.Mul(), v, v, part="square") for v in (a, b)]
    return at.emit(ops.Sqrt(), at.emit(ops.Add(), *squares, part="sum"))


@aten_rule("hardshrink.default")
def hardshrink(at: AtenNode, x: Value, lambd: float) -> Value:
    return at.emit(ops.Shrink(lambd=float(lambd)), x)


@aten_rule("softshrink.default")
def softshrink(at: AtenNode, x: Value, lambd: float) -> Value:
    return at.emit(ops.Shrink(lambd=float(lambd), bias=float(lambd)), x)


@aten_rule("threshold.default")
def threshold(at: AtenNode, x: Value, limit: float, value: float) -> Value:
    if value == 0:
        return at.emit(ops.ThresholdedRelu(alpha=float(limit)), x)
    above = emit(at, ops.Greater(), x, limit, part="above")
    return at.emit(ops.Where(), above, x, at.operand(value, "value"))


@aten_rule("trunc.default", "fix.default")
def trunc(at: AtenNode, x: Value) -> Value:
    """Towards zero: the sign times the floor of the magnitude."""
    if not x.type.is_float:
        return x
    size = at.emit(ops.Floor(), at.emit(ops.Abs(), x, part="abs"), part="floor")
    return at.emit(ops.Mul(), at.emit(ops.Sign(), x, part="sign"), size)


def of_log(factor: float) -> Callable[[AtenNode, Value], Value]:
    """A logarithm to another base."""
    return lambda at, x: emit(at, ops.Mul(), at.emit(ops.Log(), at.operand(x, "input"), part="log"), factor)


aten_rule("log2.default")(of_log(1 / math.log(2)))
aten_rule("log10.default")(of_log(1 / math.log(10)))


@aten_rule("exp2.default")
def exp2(at: AtenNode, x: Value) -> Value:
    return at.emit(ops.Exp(), emit(at, ops.Mul(), at.operand(x, "input"), math.log(2), part="scaled"))


@aten_rule("expm1.default")
def expm1(at: AtenNode, x: Value) -> Value:
    """elu below zero, where it keeps the digits of small x, and there and above by its mirror: -y / (1 + y)."""
    x = at.operand(x, "input")
    y = at.emit(ops.Elu(), at.emit(ops.Neg(), at.emit(ops.Abs(), x, part="abs"), part="below"), part="elu")
    mirror = at.emit(ops.Div(), at.emit(ops.Neg(), y, part="negated"), emit(at, ops.Add(), y, 1, part="exp"), part="up")
    return at.emit(ops.Where(), emit(at, ops.Less(), x, 0, part="negative"), y, mirror)


COMPARISONS: dict[str, type[Op]] = {
    "eq": ops.Equal,
    "ge": ops.GreaterOrEqual,
    "gt": ops.Greater,
    "le": ops.LessOrEqual,
    "lt": ops.Less,
}
for _name, _op in COMPARISONS.items():
    aten_rule(f"{_name}.Tensor", f"{_name}.Scalar")(lambda at, a, b, op=_op: at.emit(op(), *at.promoted(a, b)))


@aten_rule("ne.Tensor", "ne.Scalar")
def not_equal(at: AtenNode, a: Any, b: Any) -> Value:
    return at.emit(ops.Not(), at.emit(ops.Equal(), *at.promoted(a, b), part="equal"))


LOGIC: dict[str, type[Op]] = {"logical_and": ops.And, "logical_or": ops.Or, "logical_xor": ops.Xor}
for _name, _op in LOGIC.items():
    aten_rule(f"{_name}.default")(lambda at, a, b, op=_op: at.emit(op(), truth(at, a), truth(at, b)))


def truth(at: AtenNode, x: Value) -> Value:
    return at.cast(x, "bool", "truth")


@aten_rule("logical_not.default")
def logical_not(at: AtenNode, x: Value) -> Value:
    return at.emit(ops.Not(), truth(at, x))


BITS: dict[str, tuple[type[Op], type[Op]]] = {
    "and": (ops.And, ops.BitwiseAnd),
    "or": (ops.Or, ops.BitwiseOr),
    "xor": (ops.Xor, ops.BitwiseXor),
}


def bits(logical: type[Op], bitwise: type[Op]) -> Callable[[AtenNode, Any, Any], Value]:
    """An operator on bits; on bools it is that of logic."""

    def rule(at: AtenNode, a: Any, b: Any) -> Value:
        operands = at.promoted(a, b)
        return at.emit(logical() if operands[0].type.dtype == "bool" else bitwise(), *operands)

    return rule


for _name, (_logical, _bitwise) in BITS.items():
    _names = [f"{n}.{o}" for n in (f"bitwise_{_name}", f"__{_name}__") for o in ("Tensor", "Scalar")]
    aten_rule(*_names)(bits(_logical, _bitwise))


@aten_rule("bitwise_not.default")
def bitwise_not(at: AtenNode, x: Value) -> Value:
    return at.emit(ops.Not() if x.type.dtype == "bool" else ops.BitwiseNot(), x)


def shift(op: type[Op]) -> Callable[[AtenNode, Any, Any], Value]:
    return lambda at, a, b: at.emit(op(), *at.promoted(a, b))


_SHIFTS = ("Tensor", "Tensor_Scalar", "Scalar")
aten_rule(*(f"{n}.{o}" for n in ("bitwise_left_shift", "__lshift__") for o in _SHIFTS))(shift(ops.ShiftLeft))
aten_rule(*(f"{n}.{o}" for n in ("bitwise_right_shift", "__rshift__") for o in _SHIFTS))(shift(ops.ShiftRight))


@aten_rule("isnan.default")
def isnan(at: AtenNode, x: Value) -> Value:
    return at.emit(ops.IsNan(), at.cast(x, "float32") if not x.type.is_float else x)


@aten_rule("isinf.default")
def isinf(at: AtenNode, x: Value) -> Value:
    return at.emit(ops.IsInf(), at.cast(x, "float32") if not x.type.is_float else x)


@aten_rule("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(at: AtenNode, condition: Value, a: Any, b: Any) -> Value:
    return at.emit(ops.Where(), truth(at, condition), at.operand(a, "then"), at.operand(b, "else"))


@aten_rule("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(at: AtenNode, x: Value, mask: Value, value: Any) -> Value:
    return at.emit(ops.Where(), truth(at, mask), at.operand(value, "value"), x)


@aten_rule("clamp.Tensor")
def clamp(at: AtenNode, x: Value, low: Value | None, high: Value | None) -> Value:
    x = at.operand(x, "input")
    if low is not None:
        x = at.emit(ops.Maximum(), x, at.operand(low, "low"), part="" if high is None else "maximum")
    return x if high is None else at.emit(ops.Minimum(), x, at.operand(high, "high"))


@aten_rule("div.Tensor_mode", "div.Scalar_mode")
def div_mode(at: AtenNode, a: Any, b: Any, rounding: str | None) -> Value:
    """Integers truncate by themselves; rounding them down goes by the remainder, which has the sign of b."""
    a, b = at.operand(a, "left"), at.operand(b, "right")
    if rounding is None:
        return at.emit(ops.Div(), a, b)
    if a.type.is_float:
        quotient = at.emit(ops.Div(), a, b, part="quotient")
        return at.emit(ops.Floor(), quotient) if rounding == "floor" else trunc(at, quotient)
    if rounding == "floor":
        a = at.emit(ops.Sub(), a, at.emit(ops.Mod(), a, b, part="rest"), part="multiple")
    return at.emit(ops.Div(), a, b)


@aten_rule("floor_divide.default", "floor_divide.Scalar")
def floor_divide(at: AtenNode, a: Any, b: Any) -> Value:
    return div_mode(at, a, b, "floor")


@aten_rule("fmod.Tensor", "fmod.Scalar")
def fmod(at: AtenNode, a: Any, b: Any) -> Value:
    return at.emit(ops.Mod(fmod=True), at.operand(a, "left"), at.operand(b, "right"))


@aten_rule("remainder.Tensor", "remainder.Scalar", "remainder.Scalar_Tensor")
def remainder(at: AtenNode, a: Any, b: Any) -> Value:
    """The remainder with the sign of b; of floats by that of C, which is put right where its sign is not."""
    a, b = at.operand(a, "left"), at.operand(b, "right")
    if not a.type.is_float:
        return at.emit(ops.Mod(), a, b)
    rest = at.emit(ops.Mod(fmod=True), a, b, part="rest")
    wrong = emit(at, ops.Less(), at.emit(ops.Mul(), rest, b, part="product"), 0, part="wrong")
    return at.emit(ops.Where(), wrong, at.emit(ops.Add(), rest, b, part="moved"), rest)


@aten_rule("addcmul.default")
def addcmul(at: AtenNode, x: Value, a: Value, b: Value, value: float) -> Value:
    return added(at, x, at.emit(ops.Mul(), a, b, part="product"), value)


@aten_rule("addcdiv.default")
def addcdiv(at: AtenNode, x: Value, a: Value, b: Value, value: float) -> Value:
    return added(at, x, at.emit(ops.Div(), a, b, part="quotient"), value)


def added(at: AtenNode, x: Value, y: Value, factor: float) -> Value:
    return at.emit(ops.Add(), x, y if factor == 1 else emit(at, ops.Mul(), y, factor, part="scaled"))


@aten_rule("lerp.Scalar", "lerp.Tensor")
def lerp(at: AtenNode, x: Value, end: Value, weight: Any) -> Value:
    way = at.emit(ops.Sub(), end, x, part="way")
    return at.emit(ops.Add(), x, at.emit(ops.Mul(), way, at.operand(weight, "weight"), part="step"))


@aten_rule("nan_to_num.default")
def nan_to_num(at: AtenNode, x: Value, nan: float | None, high: float | None, low: float | None) -> Value:
    limits = np.finfo(x.type.dtype)
    is_nan = at.emit(ops.IsNan(), x, part="is_nan")
    y = at.emit(ops.Where(), is_nan, at.operand(nan or 0.0, "nan"), x, part="numbers")
    for value, default, positive in ((high, limits.max, True), (low, limits.min, False)):
        infinite = at.emit(ops.IsInf(negative=not positive, positive=positive), x, part="infinite")
        y = at.emit(ops.Where(), infinite, at.operand(default if value is None else value, "limit"), y)
    return y


@aten_rule("log1p.default")
def log1p(at: AtenNode, x: Value) -> Value:
    """log(u) * x / (u - 1) with u = 1 + x as it is rounded, which keeps the digits of small x (Kahan)."""
    x = at.operand(x, "input")
    u = emit(at, ops.Add(), x, 1, part="one_more")
    step = emit(at, ops.Sub(), u, 1, part="step")
    flat = emit(at, ops.Equal(), step, 0, part="flat")
    safe = at.emit(ops.Where(), flat, at.operand(1, "one"), step, part="safe")
    y = at.emit(ops.Mul(), at.emit(ops.Log(), u, part="log"), at.emit(ops.Div(), x, safe, part="ratio"), part="wide")
    return at.emit(ops.Where(), flat, x, y)
