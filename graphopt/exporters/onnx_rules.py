"""The rules of the built-in operators."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from onnx import helper

from graphopt import ops
from graphopt.exporters.onnx import At, export_rule
from graphopt.ir import Array, Batch, Op
from graphopt.ops.logic import Comparison
from graphopt.ops.reduction import ArgReduction, Cumulative

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


@export_rule(ops.Equal, ops.Less, ops.LessOrEqual, ops.Greater, ops.GreaterOrEqual)
def comparison(op: Comparison, at: At) -> None:
    """ONNX orders numbers only: bools are made such."""
    operands = at.inputs
    if at.types[0].dtype == "bool":
        operands = [at.emit("Cast", x, to=onnx_dtype("int32")) for x in operands]
    kinds = {"less_or_equal": "LessOrEqual", "greater_or_equal": "GreaterOrEqual"}
    at.result(kinds.get(op.name, op.name.capitalize()), *operands)


def onnx_dtype(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@export_rule(ops.Cast)
def cast(op: ops.Cast, at: At) -> None:
    at.result("Cast", *at.inputs, to=onnx_dtype(op.to))


@export_rule(ops.IsInf)
def is_inf(op: ops.IsInf, at: At) -> None:
    at.result("IsInf", *at.inputs, detect_negative=int(op.negative), detect_positive=int(op.positive))


@export_rule(ops.Gelu)
def gelu(op: ops.Gelu, at: At) -> None:
    at.result("Gelu", *at.inputs, approximate="tanh" if op.tanh else "none")


@export_rule(ops.Celu)
def celu(op: ops.Celu, at: At) -> None:
    """By elu: ONNX Celu is there for float32 only."""
    alpha = at.constant(op.alpha, at.types[0].dtype)
    at.result("Mul", at.emit("Elu", at.emit("Div", at.input(0), alpha)), alpha)


@export_rule(ops.Swish)
def swish(op: ops.Swish, at: At) -> None:
    scaled = at.emit("Mul", at.input(0), at.constant(op.alpha, at.types[0].dtype))
    at.result("Mul", at.input(0), at.emit("Sigmoid", scaled))


@export_rule(ops.Clip)
def clip(op: ops.Clip, at: At) -> None:
    dtype = at.types[0].dtype
    low, high = op.low, op.high
    if not at.types[0].is_float:
        limits = np.iinfo(dtype)
        low = -math.inf if low <= limits.min else int(low)
        high = math.inf if high >= limits.max else int(high)
    inputs = [at.input(0)]
    if low > -math.inf or high < math.inf:
        inputs.append(at.constant(low, dtype) if low > -math.inf else "")
    if high < math.inf:
        inputs.append(at.constant(high, dtype))
    at.result("Clip", *inputs)


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


@export_rule(ops.Conv, ops.ConvTranspose)
def conv(op: Op, at: At) -> None:
    kind = "Conv" if isinstance(op, ops.Conv) else "ConvTranspose"
    kernel = at.types[1].static_shape[2:]
    attributes = filled(op)
    attributes.pop("half", None)
    at.result(kind, at.input(0), weight_of(op, at), *at.bias(2), kernel_shape=kernel, **attributes)


def weight_of(op: Op, at: At) -> str:
    """The weight of a layer; one that is stored as float16 is so in the file, too, and cast."""
    weight = at.node.inputs[1].constant
    if not getattr(op, "half", False) or weight is None or not ops.fits_half(weight):
        return at.input(1)
    stored = at.derived(1, "float16", lambda data: data.astype(np.float16))
    assert stored is not None
    return at.emit("Cast", stored, to=onnx_dtype(at.types[1].dtype))


def filled(op: Op) -> dict[str, Any]:
    """The attributes of an operator, without empty tuples."""
    fields = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
    return {name: int(v) if isinstance(v, bool) else v for name, v in fields.items() if v != ()}


@export_rule(ops.MaxPool, ops.AveragePool)
def pool(op: ops.Pool, at: At) -> None:
    attributes = filled(op)
    kernel = attributes.pop("kernel")
    at.result(
        "MaxPool" if isinstance(op, ops.MaxPool) else "AveragePool", *at.inputs, kernel_shape=kernel, **attributes
    )


@export_rule(ops.Linear)
def linear(op: ops.Linear, at: At) -> None:
    """Gemm for matrices, else a product by the transposed weight and a sum."""
    bias = at.bias(2)
    if at.types[0].rank == 2:
        at.result("Gemm", at.input(0), weight_of(op, at), *bias, transB=1)
        return
    weight = None if op.half else at.derived(1, "transposed", np.transpose)
    weight = weight or at.emit("Transpose", weight_of(op, at), perm=(1, 0))
    if not bias:
        at.result("MatMul", at.input(0), weight)
        return
    at.result("Add", at.emit("MatMul", at.input(0), weight), *bias)


REDUCTIONS: dict[type[ops.Reduction], str] = {
    ops.ReduceMax: "ReduceMax",
    ops.ReduceMean: "ReduceMean",
    ops.ReduceMin: "ReduceMin",
    ops.ReduceProd: "ReduceProd",
    ops.ReduceSum: "ReduceSum",
}


@export_rule(*REDUCTIONS)
def reduction(op: ops.Reduction, at: At) -> None:
    """Without axes it is the operand, as in the graph: ONNX would take all."""
    if not op.axes:
        at.result("Identity", at.input(0))
        return
    at.result(REDUCTIONS[type(op)], at.input(0), at.constant(op.axes), keepdims=int(op.keepdims))


@export_rule(ops.ArgMax, ops.ArgMin)
def arg_reduction(op: ArgReduction, at: At) -> None:
    kind = "ArgMax" if isinstance(op, ops.ArgMax) else "ArgMin"
    at.result(kind, at.input(0), axis=op.axis, keepdims=int(op.keepdims), select_last_index=int(op.last))


@export_rule(ops.CumSum)
def cum_sum(op: ops.CumSum, at: At) -> None:
    at.result("CumSum", at.input(0), at.constant(op.axis), exclusive=int(op.exclusive), reverse=int(op.reverse))


@export_rule(ops.CumProd)
def cum_prod(op: Cumulative, at: At) -> None:
    """In log2(n) steps, each a product with itself moved along the axis, ones moving in. The opset has no CumProd."""
    x_type = at.types[0]
    size = x_type.with_shape((x_type.shape[op.axis],)).static_shape[0]
    one = at.constant(1, x_type.dtype)

    def moved(x: str, by: int) -> str:
        """x moved by so many places, toward the end of the axis or (in reverse) its start."""
        start, stop = (by, size) if op.reverse else (0, size - by)
        before, after = [0] * x_type.rank, [0] * x_type.rank
        (after if op.reverse else before)[op.axis] = by
        cut = at.emit("Slice", x, at.constant([start]), at.constant([stop]), at.constant([op.axis]))
        return at.emit("Pad", cut, at.constant([*before, *after]), one)

    y, step = moved(at.input(0), 1) if op.exclusive and size else at.input(0), 1
    while step < size:
        y = at.emit("Mul", y, moved(y, step))
        step *= 2
    at.result("Identity", y)


@export_rule(ops.TopK)
def top_k(op: ops.TopK, at: At) -> None:
    at.result("TopK", at.input(0), at.constant([op.k]), axis=op.axis, largest=int(op.largest), sorted=1)


@export_rule(ops.TopKIndices)
def top_k_indices(op: ops.TopKIndices, at: At) -> None:
    both = at.emit_all("TopK", at.input(0), at.constant([op.k]), results=2, axis=op.axis, largest=int(op.largest))
    at.result("Identity", both[1])


@export_rule(ops.Tile)
def tile(op: ops.Tile, at: At) -> None:
    at.result("Tile", at.input(0), at.constant(op.repeats))


@export_rule(ops.Reshape)
def reshape(op: ops.Reshape, at: At) -> None:
    """N becomes -1, which a shape with a zero in it does not allow."""
    if 0 in op.shape:
        at.result("Reshape", at.input(0), at.shape(op.shape), allowzero=1)
        return
    at.result("Reshape", at.input(0), at.constant([-1 if isinstance(d, Batch) else d for d in op.shape]))


@export_rule(ops.Expand)
def expand(op: ops.Expand, at: At) -> None:
    """A one leaves a dimension as it is: only an N that is not in the operand has to be computed."""
    x = (1,) * (len(op.shape) - at.types[0].rank) + at.types[0].shape
    at.result(
        "Expand", at.input(0), at.shape([1 if have == want else want for have, want in zip(x, op.shape, strict=True)])
    )


@export_rule(ops.Slice)
def slice_(op: ops.Slice, at: At) -> None:
    cut = ([op.start], [op.stop], [op.axis], [op.step])
    at.result("Slice", at.input(0), *map(at.constant, cut))


@export_rule(ops.Split)
def split(op: ops.Split, at: At) -> None:
    at.result("Split", at.input(0), at.constant(op.sizes), axis=op.axis)


@export_rule(ops.Pad)
def pad(op: ops.Pad, at: At) -> None:
    value = np.asarray(op.value).astype(at.types[0].dtype)
    at.result("Pad", at.input(0), at.constant(op.pads), at.constant(value, at.types[0].dtype))


@export_rule(ops.Resize)
def resize(op: ops.Resize, at: At) -> None:
    """Where an engine could round the coordinates another way, each axis is gathered instead."""
    have = at.types[0].with_shape(at.types[0].shape[2:]).static_shape
    if all(float32_source(op, axis, size) == op.source(axis, size) for axis, size in enumerate(have)):
        at.result(
            "Resize",
            at.input(0),
            "",
            "",
            at.constant(op.sizes),
            axes=range(2, 2 + len(have)),
            mode="nearest",
            coordinate_transformation_mode=op.coordinates,
            nearest_mode=op.rounding,
        )
        return
    y = at.input(0)
    for axis, size in enumerate(have):
        y = at.emit("Gather", y, at.constant(op.source(axis, size)), axis=axis + 2)
    at.result("Identity", y)


def float32_source(op: ops.Resize, axis: int, size: int) -> list[int]:
    """The elements that an engine copies that computes in float32, by the scale."""
    scale = np.float32(op.sizes[axis]) / np.float32(size)
    i = np.arange(op.sizes[axis], dtype=np.float32)
    half = np.float32(0.5 if op.coordinates == "half_pixel" else 0.0)
    at: Array = (i + half) / scale - half
    at = np.floor(at) if op.rounding == "floor" else np.ceil(at - np.float32(0.5))
    return [int(a) for a in np.clip(at, 0, size - 1)]
