"""Element by element."""

from __future__ import annotations

from graphopt import ops
from graphopt.frontends.tflite.node import TfliteNode, activated, tflite_rule
from graphopt.ir import Value

ARITHMETIC = {"ADD": ops.Add, "SUB": ops.Sub, "MUL": ops.Mul, "DIV": ops.Div}


@tflite_rule(*ARITHMETIC, layout="either")
def arithmetic(at: TfliteNode) -> Value:
    y = at.emit(ARITHMETIC[at.op](), *at.reals)
    options = at.options(f"{at.op.title()}Options")
    return activated(at, y, options.FusedActivationFunction())


@tflite_rule("SOFTMAX", layout="either")
def softmax(at: TfliteNode) -> Value:
    x, beta = at.real(0), float(at.options("SoftmaxOptions").Beta())
    if beta != 1.0:
        x = at.emit(ops.Mul(), x, at.constant([beta], "beta"), part="scaled")
    return at.emit(ops.Softmax(axis=at.axis(-1, x.type.rank)), x)
