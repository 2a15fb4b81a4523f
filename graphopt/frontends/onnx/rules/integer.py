"""The rules of ONNX quantisation, and of the operators on quantised tensors, which become integer arithmetic."""

from __future__ import annotations

import numpy as np
import onnx

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import cast, emit, single
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.frontends.onnx.rules.basic import convolution
from graphopt.ir import Value
from graphopt.ops.quantized import STORED


def stored_dtype(at: OnnxNode) -> str:
    """The integers that a quantisation gives: those of the zero point, those asked for, or uint8."""
    dtype = at.dtype(2) if at.has(2) else "uint8"
    if wanted := at.whole("output_dtype", 0):
        dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(wanted)))
    if dtype not in STORED:
        raise Unsupported(f"quantisation to {dtype}", advice="use int8, uint8, int16 or uint16")
    return dtype


def parameters(at: OnnxNode, x: Value, scale: Value, zero: Value, axis: int) -> tuple[int, Value, Value]:
    """Axis, scale and zero point as the operators have them: those of blocks spread to all elements.

    One number is that of all channels, whatever the axis says.
    """
    block = at.whole("block_size", 0)
    if scale.type.shape == (1,) and not block:
        scale, zero = (single(at, p) for p in (scale, zero))
    axis = normal.axis_of(axis, x.type.rank) if scale.type.rank else 0
    if block:
        scale, zero = (repeated_by_block(at, p, axis, block, x) for p in (scale, zero))
    return axis, scale, zero


def repeated_by_block(at: OnnxNode, parameter: Value, axis: int, block: int, x: Value) -> Value:
    """A parameter of blocks repeated for the elements of each; the last block may be cut."""
    shape = parameter.type.shape
    wide = normal.reshape(at, parameter, (*shape[: axis + 1], 1, *shape[axis + 1 :]), "blocks")
    wide = normal.expand(at, wide, (*shape[: axis + 1], block, *shape[axis + 1 :]), "spread")
    wide = normal.reshape(at, wide, (*shape[:axis], shape[axis] * block, *shape[axis + 1 :]), "elements")
    return normal.take(at, wide, axis, 0, x.type.shape[axis], part="elements")


def zero_point(at: OnnxNode, index: int, scale: Value, dtype: str) -> Value:
    found = at.optional(index)
    return at.constant(np.zeros(scale.type.static_shape, dtype), "zero_point") if found is None else found


@onnx_rule("QuantizeLinear")
def quantize(at: OnnxNode) -> Value:
    x, dtype = at.value(0), stored_dtype(at)
    if at.is_known(0) and np.isnan(at.known(0)).any():
        raise InvalidInput("it quantizes a constant that has elements NaN")
    precision = at.whole("precision", 0)
    wide = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(precision))) if precision else x.type.dtype
    scale = at.value(1)
    axis, scale, zero = parameters(at, x, scale, zero_point(at, 2, scale, dtype), at.whole("axis", 1))
    return at.emit(ops.Quantize(axis=axis), cast(at, x, wide, "wide"), cast(at, scale, wide, "scale"), zero)


@onnx_rule("DequantizeLinear", folded=False)
def dequantize(at: OnnxNode) -> Value:
    x, scale = at.value(0), at.value(1)
    axis, scale, zero = parameters(at, x, scale, zero_point(at, 2, scale, x.type.dtype), at.whole("axis", 1))
    y = at.emit(ops.Dequantize(axis=axis), x, scale, zero)
    wanted = at.whole("output_dtype", 0)
    return cast(at, y, str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(wanted)))) if wanted else y


@onnx_rule("DynamicQuantizeLinear")
def dynamic_quantize(at: OnnxNode) -> list[Value]:
    """To uint8 with the range of the data and zero; the scale of a range of nothing is one over 255."""
    x = at.value(0)
    axes = tuple(range(x.type.rank))
    high = emit(at, ops.Maximum(), at.emit(ops.ReduceMax(axes=axes, keepdims=False), x, part="max"), 0.0, part="high")
    low = emit(at, ops.Minimum(), at.emit(ops.ReduceMin(axes=axes, keepdims=False), x, part="min"), 0.0, part="low")
    span = at.emit(ops.Sub(), high, low, part="span")
    one = at.constant(np.ones((), x.type.dtype), "one")
    span = at.emit(ops.Where(), emit(at, ops.Equal(), span, 0.0, part="flat"), one, span, part="range")
    scale = emit(at, ops.Div(), span, 255.0, part="scale")
    start = at.emit(ops.Div(), at.emit(ops.Neg(), low, part="negative"), scale, part="start")
    start = at.emit(ops.Clip(low=0.0, high=255.0), start, part="clipped")
    zero = cast(at, at.emit(ops.Round(), start, part="rounded"), "uint8", "zero_point")
    return [at.emit(ops.Quantize(), x, scale, zero), scale, zero]


def centred(at: OnnxNode, x: Value, zero: Value | None, shape: tuple[int, ...] | None = None) -> Value:
    """x without its zero point, in int32."""
    wide = cast(at, x, "int32", "wide")
    if zero is None:
        return wide
    zero = cast(at, zero, "int32", "zero_point")
    return at.emit(ops.Sub(), wide, zero if shape is None else normal.reshape(at, zero, shape), part="centred")


def row_shape(zero: Value | None) -> tuple[int, ...] | None:
    """The shape in which a zero point of the rows of a matrix broadcasts."""
    return (*zero.type.static_shape, 1) if zero is not None and zero.type.rank == 1 else None


@onnx_rule("MatMulInteger")
def matmul_integer(at: OnnxNode) -> Value:
    zero = at.optional(2)
    a = centred(at, at.value(0), zero, row_shape(zero) if at.value(0).type.rank > 1 else None)
    return normal.matmul(at, a, centred(at, at.value(1), at.optional(3)))


@onnx_rule("ConvInteger")
def conv_integer(at: OnnxNode) -> Value:
    x, weight = centred(at, at.value(0), at.optional(2)), at.value(1)
    return convolution(at, x, centred(at, weight, at.optional(3), by_row(at.optional(3), weight)), None)


def by_row(parameter: Value | None, weight: Value) -> tuple[int, ...] | None:
    """The shape in which a parameter of the output channels broadcasts to the weight."""
    if parameter is None or parameter.type.rank == 0:
        return None
    return (*parameter.type.static_shape, *(1,) * (weight.type.rank - 1))
