"""The rules of the aten operators that compute. Each takes every argument of its schema, in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.ir import Op, Value


def each(setting: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """A setting for every spatial axis, given as one number or one for each."""
    values = (setting,) if isinstance(setting, int) else tuple(setting)
    return values * rank if len(values) == 1 else values


@aten_rule("conv1d.default", "conv2d.default", "conv3d.default")
def conv(
    at: AtenNode,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Value:
    rank = weight.type.rank - 2
    pads, dilations = each(padding, rank) * 2, each(dilation, rank)
    op = ops.Conv(strides=each(stride, rank), pads=pads, dilations=dilations, group=groups)
    return normal.conv(at, op, x, weight, bias)


@aten_rule("conv1d.padding", "conv2d.padding", "conv3d.padding")
def conv_padding(
    at: AtenNode, x: Value, weight: Value, bias: Value | None, stride: Any, padding: str, dilation: Any, groups: int
) -> Value:
    kernel = weight.type.static_shape[2:]
    dilations = each(dilation, len(kernel))
    total = [(k - 1) * d if padding == "same" else 0 for k, d in zip(kernel, dilations, strict=True)]
    pads = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    op = ops.Conv(strides=each(stride, len(kernel)), pads=pads, dilations=dilations, group=groups)
    return normal.conv(at, op, x, weight, bias)


@aten_rule("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def conv_transpose(
    at: AtenNode,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Value:
    rank = weight.type.rank - 2
    op = ops.ConvTranspose(
        strides=each(stride, rank),
        pads=each(padding, rank) * 2,
        dilations=each(dilation, rank),
        output_padding=each(output_padding, rank),
        group=groups,
    )
    return normal.conv(at, op, x, weight, bias)


@aten_rule("convolution.default")
def convolution(
    at: AtenNode,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Value:
    if transposed:
        return conv_transpose(at, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return conv(at, x, weight, bias, stride, padding, dilation, groups)


@aten_rule("linear.default")
def linear(at: AtenNode, x: Value, weight: Value, bias: Value | None) -> Value:
    return normal.linear(at, x, weight, bias)


@aten_rule("matmul.default", "mm.default", "bmm.default")
def matmul(at: AtenNode, a: Value, b: Value) -> Value:
    return normal.matmul(at, a, b)


@aten_rule("batch_norm.default")
def batch_norm(
    at: AtenNode,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool,
) -> Value:
    if training or mean is None or var is None:
        raise Unsupported(
            "batch norm by the statistics of the batch", advice="use eval mode and track_running_stats=True"
        )
    return normal.batch_norm(at, x, weight, bias, mean, var, eps)


@aten_rule("_native_batch_norm_legit_no_training.default")
def functional_batch_norm(
    at: AtenNode,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value,
    var: Value,
    momentum: float,
    eps: float,
) -> tuple[Value, None, None]:
    return normal.batch_norm(at, x, weight, bias, mean, var, eps), None, None


def unary(make: Callable[[], Op]) -> Callable[[AtenNode, Value], Value]:
    return lambda at, x: at.emit(make(), x)


aten_rule("hardswish.default")(unary(ops.HardSwish))
aten_rule("hardsigmoid.default")(unary(lambda: ops.HardSigmoid(alpha=1 / 6, beta=0.5)))
aten_rule("relu6.default")(unary(lambda: ops.Clip(low=0.0, high=6.0)))


@aten_rule("leaky_relu.default")
def leaky_relu(at: AtenNode, x: Value, slope: float) -> Value:
    return at.emit(ops.LeakyRelu(alpha=float(slope)), x)


@aten_rule("hardtanh.default", "clamp.default", "clip.default")
def clamp(at: AtenNode, x: Value, low: float | None, high: float | None) -> Value:
    return normal.clip(at, x, -math.inf if low is None else float(low), math.inf if high is None else float(high))


@aten_rule("clamp_min.default")
def clamp_min(at: AtenNode, x: Value, low: float) -> Value:
    return clamp(at, x, low, None)


@aten_rule("clamp_max.default")
def clamp_max(at: AtenNode, x: Value, high: float) -> Value:
    return clamp(at, x, None, high)


@aten_rule("softmax.int", "_softmax.default")
def softmax(at: AtenNode, x: Value, dim: int, dtype: Any) -> Value:
    return normal.softmax(at, at.operand(x, "input"), dim)


@aten_rule("add.Tensor", "add.Scalar")
def add(at: AtenNode, a: Any, b: Any, alpha: float) -> Value:
    op = ops.Or() if at.dtype == "bool" else ops.Add()
    return at.emit(op, at.operand(a, "left"), scaled(at, at.operand(b, "right"), alpha))


@aten_rule("sub.Tensor", "sub.Scalar")
def sub(at: AtenNode, a: Any, b: Any, alpha: float) -> Value:
    return at.emit(ops.Sub(), at.operand(a, "left"), scaled(at, at.operand(b, "right"), alpha))


@aten_rule("rsub.Tensor", "rsub.Scalar")
def rsub(at: AtenNode, a: Any, b: Any, alpha: float) -> Value:
    return at.emit(ops.Sub(), at.operand(b, "left"), scaled(at, at.operand(a, "right"), alpha))


def scaled(at: AtenNode, x: Value, alpha: float) -> Value:
    return x if alpha == 1 else at.emit(ops.Mul(), x, at.operand(alpha, "alpha"), part="scaled")


def binary(op: type[Op], logical: type[Op] | None = None) -> Callable[[AtenNode, Any, Any], Value]:
    """The rule of an operator on two operands; on bools it may be one of logic."""

    def rule(at: AtenNode, a: Any, b: Any) -> Value:
        kind = logical if logical is not None and at.dtype == "bool" else op
        return at.emit(kind(), at.operand(a, "left"), at.operand(b, "right"))

    return rule


aten_rule("mul.Tensor", "mul.Scalar")(binary(ops.Mul, ops.And))
aten_rule("div.Tensor", "div.Scalar", "true_divide.Tensor")(binary(ops.Div))
aten_rule("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")(binary(ops.Pow))
aten_rule("minimum.default", "min.other", "clamp_max.Tensor")(binary(ops.Minimum))
aten_rule("maximum.default", "max.other", "clamp_min.Tensor")(binary(ops.Maximum))


@aten_rule("square.default")
def square(at: AtenNode, x: Value) -> Value:
    return at.emit(ops.Mul(), x, x)


@aten_rule("rsqrt.default")
def rsqrt(at: AtenNode, x: Value) -> Value:
    return at.emit(ops.Div(), at.operand(1, "one"), at.emit(ops.Sqrt(), x, part="sqrt"))


@aten_rule("glu.default")
def glu(at: AtenNode, x: Value, dim: int) -> Value:
    axis = normal.axis_of(dim, x.type.rank)
    half = at.shape[axis]
    value = normal.take(at, x, axis, 0, half, part="value")
    gate = normal.take(at, x, axis, half, normal.END, part="gate")
    return at.emit(ops.Mul(), value, at.emit(ops.Sigmoid(), gate, part="sigmoid"))


def pool_window(rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> dict[str, tuple[int, ...]]:
    """The fields of a pooling; no stride means that of the kernel."""
    sizes = each(kernel, rank)
    pads = each(padding, rank) * 2
    strides = each(stride, rank) if stride != [] else sizes
    return {"kernel": sizes, "strides": strides, "pads": pads, "dilations": each(dilation, rank)}


@aten_rule("max_pool1d.default", "max_pool2d.default", "max_pool3d.default")
def max_pool(at: AtenNode, x: Value, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Value:
    window = pool_window(x.type.rank - 2, kernel, stride, padding, dilation)
    return normal.max_pool(at, ops.MaxPool(**window), x, ceil)


@aten_rule("max_pool1d_with_indices.default", "max_pool2d_with_indices.default", "max_pool3d_with_indices.default")
def max_pool_with_indices(
    at: AtenNode, x: Value, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> tuple[Value, None]:
    return max_pool(at, x, kernel, stride, padding, dilation, ceil), None


@aten_rule("avg_pool1d.default")
def avg_pool1d(at: AtenNode, x: Value, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool) -> Value:
    return avg_pool(at, x, kernel, stride, padding, ceil, counted, None)


@aten_rule("avg_pool2d.default", "avg_pool3d.default")
def avg_pool(
    at: AtenNode, x: Value, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool, divisor: int | None
) -> Value:
    if divisor is not None:
        raise Unsupported("average pooling with divisor_override", advice="multiply the result instead")
    window = pool_window(x.type.rank - 2, kernel, stride, padding)
    return normal.average_pool(at, ops.AveragePool(count_include_pad=counted, **window), x, ceil)


def reduction(op: type[ops.Reduction]) -> Callable[..., Value]:
    """The rule of a reduction over given axes; none given means all."""

    def rule(at: AtenNode, x: Value, axes: Sequence[int] | None, keepdims: bool, dtype: Any = None) -> Value:
        x = at.operand(x, "input")
        return normal.reduce(at, op, x, axes or range(x.type.rank), keepdims)

    return rule


def total(op: type[ops.Reduction]) -> Callable[..., Value]:
    """The rule of a reduction over everything."""
    return lambda at, x, dtype=None: normal.reduce(at, op, at.operand(x, "input"), range(x.type.rank), False)


aten_rule("mean.dim")(reduction(ops.ReduceMean))
aten_rule("sum.dim_IntList")(reduction(ops.ReduceSum))
aten_rule("amax.default")(reduction(ops.ReduceMax))
aten_rule("mean.default")(total(ops.ReduceMean))
aten_rule("sum.default")(total(ops.ReduceSum))
aten_rule("max.default")(total(ops.ReduceMax))
