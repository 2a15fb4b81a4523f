"""The ONNX operators on quantised tensors, as dequantize, the operator on reals, quantize.

Integer lowering makes integers of that again, by the one path that it has for quantize and dequantize. Those of the
domain com.microsoft are as ONNX Runtime's quantizer writes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import cast, single
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.frontends.onnx.rules.basic import averaged, convolution
from graphopt.ir import Array, Op, Value

CONTRIB = "com.microsoft:"


def parameters(at: OnnxNode, scale: int, zero: int, dtype: str) -> tuple[Value, Value]:
    """A scale, in float32, and a zero point, of zero where there is none."""
    s = cast(at, single(at, at.value(scale)), "float32", "scale")
    found = at.optional(zero)
    return s, at.constant(np.zeros(s.type.static_shape, dtype), "zero_point") if found is None else single(at, found)


def real(at: OnnxNode, index: int, axis: int = 0, part: str = "real") -> Value:
    """The operand at an index, dequantized by the scale and the zero point behind it, by channel along ``axis``."""
    x = at.value(index)
    scale, zero = parameters(at, index + 1, index + 2, x.type.dtype)
    if zero.type.shape != scale.type.shape:
        zero = at.constant(np.broadcast_to(constant_of(zero), scale.type.static_shape), "zero_point")
    return at.emit(ops.Dequantize(axis=axis if scale.type.rank == 1 else 0), x, scale, zero, part=part)


def constant_of(x: Value) -> Array:
    if x.constant is None:
        raise Unsupported(f"{x} must be a constant", advice="quantize with static parameters")
    return x.constant


def quantized(at: OnnxNode, y: Value, scale: int, zero: int, dtype: str) -> Value:
    """A result by the scale and zero point at these indices."""
    s, z = parameters(at, scale, zero, dtype)
    if s.type.rank:
        raise Unsupported("a result quantised by row")
    return at.emit(ops.Quantize(), y, s, z)


def real_bias(at: OnnxNode, index: int, x: Value, weight: Value) -> Value | None:
    """A bias of int32 in steps of the scales of operand and weight, dequantized."""
    bias = at.optional(index)
    if bias is None:
        return None
    left, right = x.node.inputs[1], weight.node.inputs[1]
    if left.constant is None or right.constant is None:
        scale = at.emit(ops.Mul(), left, right, part="bias_scale")
    else:
        scale = at.constant(left.constant * right.constant, "bias_scale")
    zero = at.constant(np.zeros(scale.type.static_shape, "int32"), "bias_zero")
    return at.emit(ops.Dequantize(axis=0), bias, scale, zero, part="bias")


@onnx_rule("QLinearConv")
def conv(at: OnnxNode) -> Value:
    x, weight = real(at, 0), real(at, 3, part="weight")
    y = convolution(at, x, weight, real_bias(at, 8, x, weight))
    return quantized(at, y, 6, 7, at.dtype(0))


@onnx_rule("QLinearMatMul")
def matmul(at: OnnxNode) -> Value:
    """Scales of the first operand may be those of its rows, of the second those of its columns."""
    a, b = (real(at, i, at.value(i).type.rank - last, part) for i, last, part in ((0, 2, "left"), (3, 1, "right")))
    return quantized(at, normal.matmul(at, a, b), 6, 7, at.dtype(0))


@onnx_rule(f"{CONTRIB}QGemm")
def gemm(at: OnnxNode) -> Value:
    if at.whole("transA", 0) or at.real("alpha", 1.0) != 1.0:
        raise Unsupported("QGemm with transA or alpha", advice="quantize in the QDQ format")
    rows = bool(at.whole("transB", 0))
    x, weight = real(at, 0), real(at, 3, 0 if rows else 1, "weight")
    bias = real_bias(at, 6, x, weight)
    if not normal.is_fixed(weight):
        raise Unsupported("QGemm by a matrix that is computed", advice="quantize in the QDQ format")
    y = normal.linear(at, x, weight if rows else normal.transposed(at, weight), bias)
    return quantized(at, y, 7, 8, at.dtype(0)) if at.has(7) else y


def binary(op: type[Op]) -> Callable[[OnnxNode], Value]:
    def rule(at: OnnxNode) -> Value:
        y = at.emit(op(), real(at, 0, part="left"), real(at, 3, part="right"), part=op.name)
        return quantized(at, y, 6, 7, at.dtype(0))

    return rule


def unary(make: Callable[[OnnxNode, Value], Value]) -> Callable[[OnnxNode], Value]:
    def rule(at: OnnxNode) -> Value:
        return quantized(at, make(at, real(at, 0)), 3, 4, at.dtype(0))

    return rule


def no_channels_last(at: OnnxNode) -> None:
    if at.whole("channels_last", 0):
        raise Unsupported("channels_last", advice="quantize with channels in front")


def global_average(at: OnnxNode, x: Value) -> Value:
    no_channels_last(at)
    return at.emit(ops.ReduceMean(axes=tuple(range(2, x.type.rank))), x, part="mean")


def average(at: OnnxNode, x: Value) -> Value:
    no_channels_last(at)
    return averaged(at, x)


def mean(at: OnnxNode, x: Value) -> Value:
    axes = at.ints("axes") or tuple(range(x.type.rank))
    op = ops.ReduceMean(axes=normal.axes_of(axes, x.type.rank), keepdims=bool(at.whole("keepdims", 1)))
    return at.emit(op, x, part="mean")


def softmax(at: OnnxNode, x: Value) -> Value:
    """Before opset 13 it is over all axes from the given one on."""
    axis = normal.axis_of(at.whole("axis", -1), x.type.rank)
    if at.whole("opset", 13) >= 13 or axis == x.type.rank - 1:
        return at.emit(ops.Softmax(axis=axis), x, part="softmax")
    flat = normal.reshape(at, x, normal.flattened(x, axis), "flat")
    return normal.reshape(at, at.emit(ops.Softmax(axis=1), flat, part="softmax"), x.type.shape, "whole")


onnx_rule(f"{CONTRIB}QLinearAdd")(binary(ops.Add))
onnx_rule(f"{CONTRIB}QLinearMul")(binary(ops.Mul))
onnx_rule(f"{CONTRIB}QLinearSigmoid")(unary(lambda at, x: at.emit(ops.Sigmoid(), x, part="sigmoid")))
onnx_rule(f"{CONTRIB}QLinearLeakyRelu")(
    unary(lambda at, x: at.emit(ops.LeakyRelu(alpha=at.real("alpha", 0.01)), x, part="leaky_relu"))
)
onnx_rule(f"{CONTRIB}QLinearGlobalAveragePool")(unary(global_average))
onnx_rule(f"{CONTRIB}QLinearAveragePool")(unary(average))
onnx_rule(f"{CONTRIB}QLinearReduceMean")(unary(mean))
onnx_rule(f"{CONTRIB}QLinearSoftmax")(unary(softmax))


@onnx_rule(f"{CONTRIB}QLinearConcat")
def concat(at: OnnxNode) -> Value:
    parts = [real(at, i, part=f"real_{i}") for i in range(2, len(at.inputs), 3)]
    axis = normal.axis_of(at.whole("axis", 0), parts[0].type.rank)
    return quantized(at, at.emit(ops.Concat(axis=axis), *parts, part="concat"), 0, 1, at.dtype(2))


@onnx_rule(f"{CONTRIB}QLinearWhere")
def where(at: OnnxNode) -> Value:
    y = at.emit(ops.Where(), at.value(0), real(at, 1, part="left"), real(at, 4, part="right"), part="where")
    return quantized(at, y, 7, 8, at.dtype(1))
