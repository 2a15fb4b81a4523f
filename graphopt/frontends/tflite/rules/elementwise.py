"""Element by element, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import emit
from graphopt.frontends.tflite.node import TfliteNode, activated, dequantized, tflite_rule
from graphopt.ir import Op, Value

ARITHMETIC = {"ADD": ops.Add, "SUB": ops.Sub, "MUL": ops.Mul, "DIV": ops.Div}
EXTREMES = {"MAXIMUM": ops.Maximum, "MINIMUM": ops.Minimum}
UNARY: dict[str, Callable[[TfliteNode], Op]] = {
    "ABS": lambda at: ops.Abs(),
    "CEIL": lambda at: ops.Ceil(),
    "COS": lambda at: ops.Cos(),
    "ELU": lambda at: ops.Elu(),
    "EXP": lambda at: ops.Exp(),
    "FLOOR": lambda at: ops.Floor(),
    "GELU": lambda at: ops.Gelu(tanh=bool(at.options("GeluOptions").Approximate())),
    "HARD_SWISH": lambda at: ops.HardSwish(),
    "LEAKY_RELU": lambda at: ops.LeakyRelu(alpha=float(at.options("LeakyReluOptions").Alpha())),
    "LOG": lambda at: ops.Log(),
    "LOGISTIC": lambda at: ops.Sigmoid(),
    "NEG": lambda at: ops.Neg(),
    "RELU": lambda at: ops.Relu(),
    "RELU6": lambda at: ops.Clip(low=0.0, high=6.0),
    "RELU_0_TO_1": lambda at: ops.Clip(low=0.0, high=1.0),
    "RELU_N1_TO_1": lambda at: ops.Clip(low=-1.0, high=1.0),
    "ROUND": lambda at: ops.Round(),
    "SIGN": lambda at: ops.Sign(),
    "SIN": lambda at: ops.Sin(),
    "SQRT": lambda at: ops.Sqrt(),
    "TANH": lambda at: ops.Tanh(),
}


@tflite_rule(*ARITHMETIC, layout="either")
def arithmetic(at: TfliteNode) -> Value:
    y = at.emit(ARITHMETIC[at.op](), *at.reals)
    return activated(at, y, at.options(f"{at.op.title()}Options").FusedActivationFunction())


@tflite_rule(*EXTREMES, layout="either")
def extreme(at: TfliteNode) -> Value:
    return at.emit(EXTREMES[at.op](), *at.kept(0, 1))


@tflite_rule(*UNARY, layout="either")
def unary(at: TfliteNode) -> Value:
    return at.emit(UNARY[at.op](at), at.real(0))


@tflite_rule("PRELU", layout="either")
def prelu(at: TfliteNode) -> Value:
    return at.emit(ops.PRelu(), *at.reals)


@tflite_rule("POW", layout="either")
def power(at: TfliteNode) -> Value:
    return at.emit(ops.Pow(), *at.reals)


@tflite_rule("ADD_N", layout="either")
def total(at: TfliteNode) -> Value:
    y, *rest = at.reals
    for other in rest:
        y = at.emit(ops.Add(), y, other)
    return y


@tflite_rule("SQUARE", layout="either")
def square(at: TfliteNode) -> Value:
    return at.emit(ops.Mul(), at.real(0), at.real(0))


@tflite_rule("SQUARED_DIFFERENCE", layout="either")
def squared_difference(at: TfliteNode) -> Value:
    difference = at.emit(ops.Sub(), *at.reals, part="difference")
    return at.emit(ops.Mul(), difference, difference)


@tflite_rule("RSQRT", layout="either")
def inverse_root(at: TfliteNode) -> Value:
    return emit(at, ops.Pow(), at.real(0), -0.5)


def plain_operands(at: TfliteNode) -> list[Value]:
    """Operands of which TFLite divides the integers, whatever they stand for."""
    if at.tensor(0).parameters is not None:
        raise Unsupported("a division of the integers of quantized tensors", advice="dequantize them before")
    return at.reals


@tflite_rule("FLOOR_DIV", layout="either")
def floor_division(at: TfliteNode) -> Value:
    a, b = plain_operands(at)
    if a.type.is_float:
        return at.emit(ops.Floor(), at.emit(ops.Div(), a, b, part="quotient"))
    return at.emit(ops.Div(), at.emit(ops.Sub(), a, at.emit(ops.Mod(), a, b, part="rest"), part="multiple"), b)


@tflite_rule("FLOOR_MOD", layout="either")
def floor_mod(at: TfliteNode) -> Value:
    """The remainder with the sign of the divisor."""
    a, b = plain_operands(at)
    if not a.type.is_float:
        return at.emit(ops.Mod(), a, b)
    floor = at.emit(ops.Floor(), at.emit(ops.Div(), a, b, part="quotient"), part="floor")
    return at.emit(ops.Sub(), a, at.emit(ops.Mul(), floor, b, part="multiple"))


@tflite_rule("SOFTMAX", layout="either")
def softmax(at: TfliteNode) -> Value:
    """Of beta times x; integers are dequantized by a scale that has beta in it."""
    beta, parameters = float(at.options("SoftmaxOptions").Beta()), at.tensor(0).parameters
    if beta == 1.0:
        x = at.real(0)
    elif parameters is None:
        x = emit(at, ops.Mul(), at.real(0), beta, part="scaled")
    else:
        scaled = replace(parameters, scale=parameters.scale * np.float32(beta), name=f"{at.name}.beta")
        x = dequantized(at.raw(0), scaled, at.name)
    return at.emit(ops.Softmax(axis=at.axis(-1, x.type.rank)), x)


@tflite_rule("LOG_SOFTMAX", layout="either")
def log_softmax(at: TfliteNode) -> Value:
    """x - max - log(sum(exp(x - max)))."""
    x = at.real(0)
    axes = (at.axis(-1, x.type.rank),)
    shifted = at.emit(ops.Sub(), x, at.emit(ops.ReduceMax(axes=axes), x, part="max"), part="shifted")
    sums = at.emit(ops.ReduceSum(axes=axes), at.emit(ops.Exp(), shifted, part="exp"), part="sum")
    return at.emit(ops.Sub(), shifted, at.emit(ops.Log(), sums, part="log"))


@tflite_rule("L2_NORMALIZATION", layout="either")
def l2_normalization(at: TfliteNode) -> Value:
    """x / sqrt(max(sum x^2, 1e-6)) along the last axis."""
    x = at.real(0)
    squares = at.emit(ops.Mul(), x, x, part="squares")
    sums = at.emit(ops.ReduceSum(axes=(at.axis(-1, x.type.rank),)), squares, part="sum")
    norm = at.emit(ops.Sqrt(), normal.clip(at, sums, 1e-6, np.inf), part="norm")
    return activated(at, at.emit(ops.Div(), x, norm), at.options("L2NormOptions").FusedActivationFunction())
