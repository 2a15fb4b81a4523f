"""Comparisons, choices and casts."""

from __future__ import annotations

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import cast
from graphopt.frontends.tflite.node import TfliteNode, tflite_rule
from graphopt.ir import Value

COMPARISONS = {
    "EQUAL": ops.Equal,
    "GREATER": ops.Greater,
    "GREATER_EQUAL": ops.GreaterOrEqual,
    "LESS": ops.Less,
    "LESS_EQUAL": ops.LessOrEqual,
    "NOT_EQUAL": ops.Equal,
}
LOGICAL = {"LOGICAL_AND": ops.And, "LOGICAL_OR": ops.Or}


@tflite_rule(*COMPARISONS, layout="either")
def comparison(at: TfliteNode) -> Value:
    """Of the integers of quantized tensors, where those of both mean the same."""
    a, b = at.tensor(0).parameters, at.tensor(1).parameters
    operands = [at.raw(0), at.raw(1)] if a is not None and a.same(b) else at.reals
    if any(v.type.dtype == "bool" for v in operands):
        operands = [cast(at, v, "uint8", "number") for v in operands]
    if at.op != "NOT_EQUAL":
        return at.emit(COMPARISONS[at.op](), *operands)
    return at.emit(ops.Not(), at.emit(ops.Equal(), *operands, part="equal"))


@tflite_rule(*LOGICAL, layout="either")
def logical(at: TfliteNode) -> Value:
    return at.emit(LOGICAL[at.op](), *at.reals)


@tflite_rule("LOGICAL_NOT", layout="either")
def negation(at: TfliteNode) -> Value:
    return at.emit(ops.Not(), at.raw(0))


@tflite_rule("SELECT", "SELECT_V2", layout="either")
def select(at: TfliteNode) -> Value:
    """The older one takes a condition of one axis for that of rows."""
    rank = at.rank(1)
    if at.op == "SELECT" and at.rank(0) == 1 and rank > 1:
        at.first = False
        condition = at.raw(0)
        condition = normal.reshape(at, condition, (*condition.type.shape, *(1,) * (rank - 1)), "rows")
    else:
        condition = at.raw(0)
    return at.emit(ops.Where(), condition, *at.kept(1, 2))


@tflite_rule("CAST", layout="either")
def cast_rule(at: TfliteNode) -> Value:
    """What is stored, as it is: the integers of a quantized tensor count as integers."""
    wanted = at.outputs[0]
    if wanted.parameters is not None and at.raw(0).type.is_float:
        raise Unsupported("a cast of floats to a quantized tensor", advice="use QUANTIZE")
    return cast(at, at.raw(0), wanted.dtype)
