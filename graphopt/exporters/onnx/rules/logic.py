"""Comparisons, bits and casts."""

from __future__ import annotations

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule, onnx_dtype
from graphopt.ops.logic import Comparison


@export_rule(ops.Equal, ops.Less, ops.LessOrEqual, ops.Greater, ops.GreaterOrEqual)
def comparison(op: Comparison, at: At) -> None:
    """ONNX orders numbers only: bools are made such."""
    operands = at.inputs
    if at.types[0].dtype == "bool":
        operands = [at.emit("Cast", x, to=onnx_dtype("int32")) for x in operands]
    kinds = {"less_or_equal": "LessOrEqual", "greater_or_equal": "GreaterOrEqual"}
    at.result(kinds.get(op.name, op.name.capitalize()), *operands)


@export_rule(ops.Cast)
def cast(op: ops.Cast, at: At) -> None:
    at.result("Cast", *at.inputs, to=onnx_dtype(op.to))


@export_rule(ops.IsInf)
def is_inf(op: ops.IsInf, at: At) -> None:
    at.result("IsInf", *at.inputs, detect_negative=int(op.negative), detect_positive=int(op.positive))


SHIFTED_AS = {"int8": "uint8", "int16": "uint32", "uint16": "uint32", "int32": "uint32", "int64": "uint64"}
"""The dtype in which a shift is done where BitShift does not take the operand's own."""


@export_rule(ops.ShiftLeft, ops.ShiftRight)
def shift(op: ops.ShiftLeft | ops.ShiftRight, at: At) -> None:
    """ONNX shifts unsigned numbers only. Of a negative one all bits are flipped, before and after."""
    dtype, right = at.types[0].dtype, isinstance(op, ops.ShiftRight)
    x, amount = at.inputs
    direction = "RIGHT" if right else "LEFT"
    if dtype not in SHIFTED_AS:
        at.result("BitShift", x, amount, direction=direction)
        return
    flip = right and not dtype.startswith("u")
    if flip:
        zero, ones = at.constant(0, dtype), at.constant(-1, dtype)
        sign = at.emit("Where", at.emit("Less", x, zero), ones, zero, part="sign")
        x = at.emit("BitwiseXor", x, sign, part="flipped")
    wide = onnx_dtype(SHIFTED_AS[dtype])
    x, amount = (at.emit("Cast", t, to=wide) for t in (x, amount))
    y = at.emit("BitShift", x, amount, direction=direction)
    if not flip:
        at.result("Cast", y, to=onnx_dtype(dtype))
        return
    at.result("BitwiseXor", at.emit("Cast", y, to=onnx_dtype(dtype)), sign)
