"""The rules of the ONNX operators that work element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import cast, emit
from graphopt.frontends.limits import room
from graphopt.frontends.onnx.node import OnnxNode, Tensor, onnx_rule
from graphopt.ir import Op, Value
from graphopt.ir.types import DTYPES

EXACT = 2**53
"""Integers up to here are exact as floats."""


def unary(make: Callable[[OnnxNode], Op]) -> Callable[[OnnxNode], Value]:
    return lambda at: at.emit(make(at), at.value(0))


def plain(op: type[Op]) -> Callable[[OnnxNode], Value]:
    """The rule of an operator without attributes."""
    return lambda at: at.emit(op(), *at.values)


for name, kind in {
    "Abs": ops.Abs,
    "Acos": ops.Acos,
    "Acosh": ops.Acosh,
    "Asin": ops.Asin,
    "Asinh": ops.Asinh,
    "Atan": ops.Atan,
    "Atanh": ops.Atanh,
    "BitwiseNot": ops.BitwiseNot,
    "Ceil": ops.Ceil,
    "Cos": ops.Cos,
    "Cosh": ops.Cosh,
    "Erf": ops.Erf,
    "Exp": ops.Exp,
    "Floor": ops.Floor,
    "HardSwish": ops.HardSwish,
    "IsNaN": ops.IsNan,
    "Log": ops.Log,
    "Mish": ops.Mish,
    "Neg": ops.Neg,
    "Not": ops.Not,
    "Reciprocal": ops.Reciprocal,
    "Relu": ops.Relu,
    "Round": ops.Round,
    "Sigmoid": ops.Sigmoid,
    "Sign": ops.Sign,
    "Sin": ops.Sin,
    "Sinh": ops.Sinh,
    "Softplus": ops.Softplus,
    "Softsign": ops.Softsign,
    "Sqrt": ops.Sqrt,
    "Tan": ops.Tan,
    "Tanh": ops.Tanh,
    "Where": ops.Where,
}.items():
    onnx_rule(name)(plain(kind))

onnx_rule("LeakyRelu")(unary(lambda at: ops.LeakyRelu(alpha=at.real("alpha"))))
onnx_rule("HardSigmoid")(unary(lambda at: ops.HardSigmoid(alpha=at.real("alpha"), beta=at.real("beta"))))
onnx_rule("Elu")(unary(lambda at: ops.Elu(alpha=at.real("alpha"))))
onnx_rule("Celu")(unary(lambda at: ops.Celu(alpha=at.real("alpha"))))
onnx_rule("Selu")(  # the defaults of the operator have all digits
    unary(
        lambda at: ops.Selu(
            alpha=at.attr("alpha", float, ops.Selu.alpha), gamma=at.attr("gamma", float, ops.Selu.gamma)
        )
    )
)
onnx_rule("Gelu")(unary(lambda at: ops.Gelu(tanh=at.text("approximate") == "tanh")))
onnx_rule("ThresholdedRelu")(unary(lambda at: ops.ThresholdedRelu(alpha=at.real("alpha"))))
onnx_rule("Shrink")(unary(lambda at: ops.Shrink(bias=at.real("bias"), lambd=at.real("lambd"))))
onnx_rule("IsInf")(
    unary(lambda at: ops.IsInf(negative=at.flag("detect_negative"), positive=at.flag("detect_positive")))
)


@onnx_rule("Swish")
def swish(at: OnnxNode) -> Value:
    alpha = at.real("alpha")
    return at.emit(ops.Silu() if alpha == 1.0 else ops.Swish(alpha=alpha), at.value(0))


@onnx_rule("PRelu")
def prelu(at: OnnxNode) -> Value:
    """Before opset 7 a slope of one axis goes by channel."""
    x, slope = at.values
    if at.opset < 7 and slope.type.rank == 1 and slope.type.shape != (1,):
        slope = normal.reshape(at, slope, (*slope.type.shape, *(1,) * (x.type.rank - 2)), "slope")
    return at.emit(ops.PRelu(), x, slope)


@onnx_rule("Clip")
def clip(at: OnnxNode) -> Value:
    """Limits are attributes up to opset 6, then inputs, of which some may be computed; what is not given is none."""
    x = at.value(0)
    limits = [float(at.attr("min", float, -math.inf)), float(at.attr("max", float, math.inf))]
    computed: list[Value | None] = [None, None]
    for index in (0, 1):
        limit = at.known(index + 1).item() if at.is_known(index + 1) else None
        if isinstance(limit, float) or (limit is not None and abs(limit) <= EXACT):
            limits[index] = float(limit)
        else:
            computed[index] = at.optional(index + 1)
    x = normal.clip(at, x, *limits)
    for bound, op in zip(computed, (ops.Maximum(), ops.Minimum()), strict=True):
        x = x if bound is None else at.emit(op, x, bound)
    return x


@onnx_rule("Identity")
def identity(at: OnnxNode) -> Tensor:
    return at.tensor(0)


@onnx_rule("Dropout")
def dropout(at: OnnxNode) -> list[Tensor]:
    """Nothing, with a mask of ones, unless it is in training mode and has a ratio."""
    if at.has(2) and bool(at.known(2).item()) and (not at.has(1) or at.known(1).item()):
        raise Unsupported("dropout in training mode", advice="export the model in evaluation mode")
    x = at.value(0)
    mask = at.constant(np.ones((1,) * x.type.rank, bool), "ones")
    return [x] if at.outputs < 2 else [x, normal.expand(at, mask, x.type.shape, "mask")]


def binary(op: Op) -> Callable[[OnnxNode], Value]:
    """The rule of an operator on two operands, or a chain of it on more."""

    def rule(at: OnnxNode) -> Value:
        first, *rest = at.values
        if at.opset < 7 and at.flag("broadcast"):
            rest = [aligned(at, first, rest[0])]
        if not rest and at.op in ("Max", "Min", "Sum"):
            return first
        *inner, last = rest
        for other in inner:
            first = at.emit(op, first, other, part="partial")
        return at.emit(op, first, last)

    return rule


def aligned(at: OnnxNode, a: Value, b: Value) -> Value:
    """The second operand of opset 6, which starts at an axis of the first instead of ending at its last."""
    axis = at.whole("axis", a.type.rank - b.type.rank)
    tail = a.type.rank - normal.axis_of(axis, a.type.rank) - b.type.rank if b.type.rank else 0
    return normal.reshape(at, b, (*b.type.shape, *(1,) * tail), "aligned")


for name, pair in {
    "Add": ops.Add(),
    "And": ops.And(),
    "BitwiseAnd": ops.BitwiseAnd(),
    "BitwiseOr": ops.BitwiseOr(),
    "BitwiseXor": ops.BitwiseXor(),
    "Div": ops.Div(),
    "Equal": ops.Equal(),
    "Greater": ops.Greater(),
    "GreaterOrEqual": ops.GreaterOrEqual(),
    "Less": ops.Less(),
    "LessOrEqual": ops.LessOrEqual(),
    "Max": ops.Maximum(),
    "Min": ops.Minimum(),
    "Mul": ops.Mul(),
    "Or": ops.Or(),
    "Sub": ops.Sub(),
    "Sum": ops.Add(),
    "Xor": ops.Xor(),
}.items():
    onnx_rule(name)(binary(pair))


@onnx_rule("Mean")
def mean(at: OnnxNode) -> Value:
    first, *rest = at.values
    if not rest:
        return first
    for other in rest:
        first = at.emit(ops.Add(), first, other, part="partial")
    return emit(at, ops.Div(), first, len(rest) + 1)


@onnx_rule("Mod")
def mod(at: OnnxNode) -> Value:
    """Of floats with the sign of the divisor: C's remainder, moved by one divisor where the signs differ."""
    a, b = at.values
    if at.flag("fmod") or not a.type.is_float:
        return at.emit(ops.Mod(fmod=at.flag("fmod")), a, b)
    rest = at.emit(ops.Mod(fmod=True), a, b, part="rest")
    signs = (emit(at, ops.Less(), v, 0.0, part="negative") for v in (rest, b))
    differ = at.emit(ops.Xor(), *signs, part="differ")
    some = at.emit(ops.Not(), emit(at, ops.Equal(), rest, 0.0, part="is_zero"), part="some")
    moved = at.emit(ops.Add(), rest, b, part="moved")
    return at.emit(ops.Where(), at.emit(ops.And(), differ, some, part="wrong_sign"), moved, rest)


@onnx_rule("BitShift")
def shift(at: OnnxNode) -> Value:
    return at.emit(ops.ShiftLeft() if at.text("direction") == "LEFT" else ops.ShiftRight(), *at.values)


@onnx_rule("Pow")
def power(at: OnnxNode) -> Value:
    """The exponent may have a dtype of its own; a constant one is converted. The result has that of the base."""
    base, exponent = at.value(0), at.value(1)
    if at.opset < 7 and at.flag("broadcast"):
        exponent = aligned(at, base, exponent)
    dtype = base.type.dtype
    if exponent.type.is_float and not base.type.is_float:
        y = at.emit(ops.Pow(), cast(at, base, exponent.type.dtype, "base"), exponent, part="power")
        return cast(at, y, dtype)
    if exponent.constant is not None and exponent.type.dtype != dtype:
        exponent = at.derive(exponent, dtype, lambda a: a.astype(dtype))
    return at.emit(ops.Pow(), base, cast(at, exponent, dtype, "exponent"))


@onnx_rule("Cast")
def cast_rule(at: OnnxNode) -> Value:
    return cast(at, at.value(0), cast_dtype(at))


def cast_dtype(at: OnnxNode) -> str:
    """The dtype that a cast asks for."""
    kind = at.whole("to")
    if kind not in onnx.helper.get_all_tensor_dtypes():
        raise InvalidInput(f"there is no type of number {kind}")
    wanted = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)))
    if wanted not in DTYPES:
        raise Unsupported(f"turns {at.dtype(0)} into {wanted}", advice="use a dtype that numpy has")
    return wanted


@onnx_rule("CastLike")
def cast_like(at: OnnxNode) -> Tensor:
    if at.is_known(0) and at.known(0).dtype != object:
        return at.known(0).astype(at.dtype(1))
    return cast(at, at.value(0), at.dtype(1))


@onnx_rule("EyeLike")
def eye_like(at: OnnxNode) -> Value:
    x = at.tensor(0)
    rows, columns = x.type.static_shape if isinstance(x, Value) else x.shape
    room(rows, columns)
    wanted = at.raw("dtype")
    dtype = at.dtype(0) if wanted is None else onnx.helper.tensor_dtype_to_np_dtype(int(wanted))
    return at.constant(np.eye(rows, columns, at.whole("k"), np.dtype(dtype)), "")
