"""The rules of the ONNX operators that normalise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import cast, counted, emit, mean, total, whole
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Value


def along_axis(make: Callable[[OnnxNode, Value, int, str], Value]) -> Callable[[OnnxNode], Value]:
    """The rule of a softmax and its kin. Before opset 13 they work on all axes from the given one on."""

    def rule(at: OnnxNode) -> Value:
        x, old = at.value(0), at.opset < 13
        axis = normal.axis_of(at.whole("axis"), x.type.rank)
        if not old or axis == x.type.rank - 1:
            return make(at, x, axis, "")
        flat = normal.reshape(at, x, normal.flattened(x, axis), "flat")
        return normal.reshape(at, make(at, flat, 1, "rows"), x.type.shape)

    return rule


def softmax(at: OnnxNode, x: Value, axis: int, part: str) -> Value:
    return at.emit(ops.Softmax(axis=axis), x, part=part)


def log_softmax(at: OnnxNode, x: Value, axis: int, part: str) -> Value:
    """x - max - log(sum(exp(x - max)))."""
    shifted = at.emit(ops.Sub(), x, at.emit(ops.ReduceMax(axes=(axis,)), x, part="max"), part="shifted")
    sums = total(at, at.emit(ops.Exp(), shifted, part="exp"), (axis,))
    return at.emit(ops.Sub(), shifted, at.emit(ops.Log(), sums, part="log"), part=part)


def hardmax(at: OnnxNode, x: Value, axis: int, part: str) -> Value:
    """One where the first maximum is, else zero."""
    size = whole(x, (axis,))
    best = at.emit(ops.ArgMax(axis=axis), x, part="best")
    same = at.emit(ops.Equal(), best, counted(at, size, x.type.rank, axis), part="is_best")
    return cast(at, same, x.type.dtype, part)


onnx_rule("Softmax")(along_axis(softmax))
onnx_rule("LogSoftmax")(along_axis(log_softmax))
onnx_rule("Hardmax")(along_axis(hardmax))


@onnx_rule("BatchNormalization")
def batch_norm(at: OnnxNode) -> Value:
    """Scale, bias and statistics may be of other dtypes than the data; computed ones are written out."""
    if at.flag("training_mode") or not at.whole("spatial", 1):
        raise Unsupported("batch norm in training mode, or not by channel", advice="export in evaluation mode")
    x, *parameters = at.values
    scale, bias, average, var = (cast(at, p, x.type.dtype, "parameter") for p in parameters)
    epsilon = at.real("epsilon")
    if all(p.constant is not None for p in (scale, bias, average, var)):
        return normal.batch_norm(at, x, scale, bias, average, var, epsilon)
    column = (*scale.type.shape, *(1,) * (x.type.rank - 2))
    scale, bias, average, var = (normal.reshape(at, p, column, "column") for p in (scale, bias, average, var))
    deviation = at.emit(ops.Sub(), x, average, part="centred")
    y = at.emit(ops.Mul(), deviation, inverse_root(at, var, epsilon), part="normal")
    return affine(at, y, scale, bias)


def centred(at: OnnxNode, x: Value, axes: Sequence[int]) -> tuple[Value, Value, Value]:
    """The mean over axes, what deviates from it, and the mean of the squares of that."""
    middle = mean(at, x, axes)
    deviation = at.emit(ops.Sub(), x, middle, part="centred")
    return middle, deviation, mean(at, at.emit(ops.Mul(), deviation, deviation, part="square"), axes, "variance")


def inverse_root(at: OnnxNode, x: Value, epsilon: float) -> Value:
    """1 / sqrt(x + epsilon)."""
    return at.emit(ops.Reciprocal(), at.emit(ops.Sqrt(), emit(at, ops.Add(), x, epsilon, part="kept_off"), part="root"))


def affine(at: OnnxNode, x: Value, scale: Value, bias: Value | None) -> Value:
    """x * scale + bias."""
    if bias is None:
        return at.emit(ops.Mul(), x, scale)
    return at.emit(ops.Add(), at.emit(ops.Mul(), x, scale, part="scaled"), bias)


@onnx_rule("LayerNormalization")
def layer_norm(at: OnnxNode) -> Sequence[Value]:
    """Over the last axes, in float32 at least; the second and third results are the mean and 1 / deviation."""
    x, scale, bias = at.value(0), at.value(1), at.optional(2)
    first = normal.axis_of(at.whole("axis"), x.type.rank)
    if at.outputs < 2 and stash(at, x) == x.type.dtype and scale.type == x.type.with_shape(x.type.shape[first:]):
        bias = at.constant(np.zeros(scale.type.static_shape, x.type.dtype), "bias") if bias is None else bias
        return [at.emit(ops.LayerNorm(epsilon=at.real("epsilon")), x, scale, bias)]
    wide = cast(at, x, stash(at, x), "wide")
    middle, deviation, variance = centred(at, wide, range(first, x.type.rank))
    inverse = inverse_root(at, variance, at.real("epsilon"))
    y = cast(at, at.emit(ops.Mul(), deviation, inverse, part="normal"), x.type.dtype, "narrow")
    return [affine(at, y, scale, bias), middle, inverse]


def stash(at: OnnxNode, x: Value) -> str:
    """The dtype to normalise in: float32 by default, unless the model says otherwise or has a wider one."""
    return "float32" if x.type.dtype == "float16" and at.whole("stash_type", 1) == 1 else x.type.dtype


@onnx_rule("RMSNormalization")
def rms_norm(at: OnnxNode) -> Value:
    x, scale = at.value(0), at.value(1)
    first = normal.axis_of(at.whole("axis"), x.type.rank)
    wide = cast(at, x, stash(at, x), "wide")
    squares = mean(at, at.emit(ops.Mul(), wide, wide, part="square"), range(first, x.type.rank))
    y = at.emit(ops.Mul(), wide, inverse_root(at, squares, at.real("epsilon")), part="normal")
    return affine(at, cast(at, y, x.type.dtype, "narrow"), scale, None)


@onnx_rule("InstanceNormalization")
def instance_norm(at: OnnxNode) -> Value:
    x, scale, bias = at.values
    return group_normal(at, x, whole(x, (1,)), scale, bias)


@onnx_rule("GroupNormalization")
def group_norm(at: OnnxNode) -> Value:
    """Scale and bias are by channel, before opset 21 by group."""
    x, scale, bias = at.values
    groups = at.whole("num_groups")
    if at.opset < 21:
        channels = whole(x, (1,))
        scale, bias = (by_channel(at, p, groups, channels) for p in (scale, bias))
    return group_normal(at, x, groups, scale, bias)


def by_channel(at: OnnxNode, parameter: Value, groups: int, channels: int) -> Value:
    """A parameter of groups repeated for their channels."""
    each = channels // groups
    wide = normal.expand(at, normal.reshape(at, parameter, (groups, 1), "group"), (groups, each), "channels")
    return normal.reshape(at, wide, (channels,), "by_channel")


def group_normal(at: OnnxNode, x: Value, groups: int, scale: Value, bias: Value) -> Value:
    """Every group of channels with the mean and deviation of its own; scale and bias by channel."""
    shape = x.type.shape
    wide = cast(at, x, stash(at, x), "wide")
    rows = normal.reshape(at, wide, (shape[0], groups, whole(x, range(1, x.type.rank)) // groups), "groups")
    _, deviation, variance = centred(at, rows, (2,))
    y = at.emit(ops.Mul(), deviation, inverse_root(at, variance, at.real("epsilon")), part="normal")
    y = cast(at, normal.reshape(at, y, shape, "back"), x.type.dtype, "narrow")
    column = (*scale.type.shape, *(1,) * (x.type.rank - 2))
    return affine(at, y, normal.reshape(at, scale, column, "scale"), normal.reshape(at, bias, column, "bias"))


@onnx_rule("MeanVarianceNormalization")
def mean_variance_norm(at: OnnxNode) -> Value:
    x = at.value(0)
    _, deviation, variance = centred(at, x, at.ints("axes") or (0, 2, 3))
    root = at.emit(ops.Sqrt(), variance, part="root")
    return at.emit(ops.Div(), deviation, emit(at, ops.Add(), root, 1e-9, part="kept_off"))


@onnx_rule("LpNormalization")
def lp_norm(at: OnnxNode) -> Value:
    """x over its norm along one axis; zeros stay zero."""
    x = at.value(0)
    axis = normal.axis_of(at.whole("axis"), x.type.rank)
    if at.whole("p") == 1:
        norm = total(at, at.emit(ops.Abs(), x, part="magnitude"), (axis,))
    else:
        norm = at.emit(ops.Sqrt(), total(at, at.emit(ops.Mul(), x, x, part="square"), (axis,)), part="root")
    is_zero = emit(at, ops.Equal(), norm, 0.0, part="is_zero")
    one = at.constant(np.ones((), x.type.dtype), "one")
    return at.emit(ops.Div(), x, at.emit(ops.Where(), is_zero, one, norm, part="divisor"))


@onnx_rule("LRN")
def local_response(at: OnnxNode) -> Value:
    """x / (bias + alpha * mean of squares over neighbouring channels)^beta."""
    x, size = at.value(0), at.whole("size")
    shape = x.type.shape
    squares = at.emit(ops.Mul(), x, x, part="square")
    plane = normal.reshape(at, squares, (shape[0], 1, whole(x, (1,)), whole(x, range(2, x.type.rank))), "plane")
    pool = ops.AveragePool(kernel=(size, 1), pads=((size - 1) // 2, 0, size // 2, 0), count_include_pad=True)
    means = normal.reshape(at, at.emit(pool, plane, part="window"), shape, "means")
    inner = emit(at, ops.Mul(), means, at.real("alpha"), part="scaled")
    inner = emit(at, ops.Add(), inner, at.real("bias"), part="biased")
    return at.emit(ops.Div(), x, emit(at, ops.Pow(), inner, at.real("beta"), part="power"))
