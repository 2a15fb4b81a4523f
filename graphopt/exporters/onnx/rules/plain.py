"""Operators that ONNX has as they are."""

from __future__ import annotations

import dataclasses

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule
from graphopt.ir import Op

PLAIN: dict[type[Op], str] = {
    ops.Abs: "Abs",
    ops.Acos: "Acos",
    ops.Acosh: "Acosh",
    ops.Add: "Add",
    ops.And: "And",
    ops.Asin: "Asin",
    ops.Asinh: "Asinh",
    ops.Atan: "Atan",
    ops.Atanh: "Atanh",
    ops.BatchNorm: "BatchNormalization",
    ops.BitwiseAnd: "BitwiseAnd",
    ops.BitwiseNot: "BitwiseNot",
    ops.BitwiseOr: "BitwiseOr",
    ops.BitwiseXor: "BitwiseXor",
    ops.Ceil: "Ceil",
    ops.Concat: "Concat",
    ops.Cos: "Cos",
    ops.Cosh: "Cosh",
    ops.Div: "Div",
    ops.Elu: "Elu",
    ops.Erf: "Erf",
    ops.Exp: "Exp",
    ops.Floor: "Floor",
    ops.Gather: "Gather",
    ops.GatherElements: "GatherElements",
    ops.GatherNd: "GatherND",
    ops.HardSigmoid: "HardSigmoid",
    ops.HardSwish: "HardSwish",
    ops.Identity: "Identity",
    ops.IsNan: "IsNaN",
    ops.LeakyRelu: "LeakyRelu",
    ops.Log: "Log",
    ops.MatMul: "MatMul",
    ops.Maximum: "Max",
    ops.Minimum: "Min",
    ops.Mish: "Mish",
    ops.Mod: "Mod",
    ops.Mul: "Mul",
    ops.Neg: "Neg",
    ops.Not: "Not",
    ops.Or: "Or",
    ops.PRelu: "PRelu",
    ops.Pow: "Pow",
    ops.Reciprocal: "Reciprocal",
    ops.Relu: "Relu",
    ops.Round: "Round",
    ops.ScatterElements: "ScatterElements",
    ops.ScatterNd: "ScatterND",
    ops.Selu: "Selu",
    ops.Shrink: "Shrink",
    ops.Sigmoid: "Sigmoid",
    ops.Sign: "Sign",
    ops.Sin: "Sin",
    ops.Sinh: "Sinh",
    ops.Softmax: "Softmax",
    ops.Softplus: "Softplus",
    ops.Softsign: "Softsign",
    ops.Sqrt: "Sqrt",
    ops.Sub: "Sub",
    ops.Tan: "Tan",
    ops.Tanh: "Tanh",
    ops.ThresholdedRelu: "ThresholdedRelu",
    ops.Transpose: "Transpose",
    ops.Where: "Where",
    ops.Xor: "Xor",
}
"""The operators that ONNX has under another name at most, their attributes being the same."""


@export_rule(*PLAIN)
def plain(op: Op, at: At) -> None:
    fields = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
    attributes = {name: int(value) if isinstance(value, bool) else value for name, value in fields.items()}
    at.result(PLAIN[type(op)], *at.inputs, **attributes)
