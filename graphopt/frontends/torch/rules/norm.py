"""The rules of the aten operators that normalise, and of the statistics that normalisations are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import emit, mean, whole
from graphopt.frontends.emit import total as summed
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.frontends.torch.rules.basic import reduction, total
from graphopt.ir import Dim, Op, Value


def layer_normed(at: AtenNode, x: Value, sizes: tuple[int, ...], epsilon: float, part: str = "") -> Value:
    """x normalised over its last axes, those of the sizes given, and nothing more."""
    ones, zeros = (at.constant(np.full(sizes, v, x.type.dtype), p) for v, p in ((1, "weight"), (0, "bias")))
    return at.emit(ops.LayerNorm(epsilon=epsilon), x, ones, zeros, part=part)


@aten_rule("layer_norm.default")
def layer_norm(
    at: AtenNode, x: Value, shape: Sequence[Dim], weight: Value | None, bias: Value | None, epsilon: float, cudnn: bool
) -> Value:
    sizes = x.type.with_shape(tuple(shape)).static_shape
    if weight is None:
        weight = at.constant(np.ones(sizes, x.type.dtype), "weight")
    if bias is None:
        bias = at.constant(np.zeros(sizes, x.type.dtype), "bias")
    return at.emit(ops.LayerNorm(epsilon=epsilon), x, weight, bias)


@aten_rule("native_layer_norm.default")
def native_layer_norm(
    at: AtenNode, x: Value, shape: Sequence[Dim], weight: Value | None, bias: Value | None, epsilon: float
) -> tuple[Value, None, None]:
    return layer_norm(at, x, shape, weight, bias, epsilon, False), None, None


@aten_rule("rms_norm.default")
def rms_norm(at: AtenNode, x: Value, shape: Sequence[Dim], weight: Value | None, epsilon: float | None) -> Value:
    axes = range(x.type.rank - len(shape), x.type.rank)
    squares = mean(at, at.emit(ops.Mul(), x, x, part="square"), axes)
    smallest = float(np.finfo(x.type.dtype).eps) if epsilon is None else epsilon
    root = at.emit(ops.Sqrt(), emit(at, ops.Add(), squares, smallest, part="kept_off"), part="root")
    y = at.emit(ops.Div(), x, root, part="" if weight is None else "normal")
    return y if weight is None else at.emit(ops.Mul(), y, weight)


@aten_rule("group_norm.default")
def group_norm(
    at: AtenNode, x: Value, groups: int, weight: Value | None, bias: Value | None, epsilon: float, cudnn: bool
) -> Value:
    """Each group of channels as one row that is normalised; then scale and bias by channel."""
    size = whole(x, range(1, x.type.rank)) // groups
    rows = normal.reshape(at, x, (x.type.shape[0], groups, size), "groups")
    plain = weight is None and bias is None
    y = layer_normed(at, rows, (size,), epsilon, part="normal")
    y = normal.reshape(at, y, x.type.shape, "" if plain else "back")
    return by_channel(at, y, weight, bias)


def by_channel(at: AtenNode, x: Value, weight: Value | None, bias: Value | None) -> Value:
    """x * weight + bias, both by channel, axis 1."""
    for op, parameter, last in ((ops.Mul(), weight, bias is None), (ops.Add(), bias, True)):
        if parameter is not None:
            column = normal.reshape(at, parameter, (*parameter.type.shape, *(1,) * (x.type.rank - 2)), "column")
            x = at.emit(op, x, column, part="" if last else "scaled")
    return x


@aten_rule("instance_norm.default")
def instance_norm(
    at: AtenNode,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    use_input: bool,
    momentum: float,
    epsilon: float,
    cudnn: bool,
) -> Value:
    """By the statistics of each channel, or by those tracked in training as batch norm does."""
    if not use_input:
        if running_mean is None or running_var is None:
            raise Unsupported("instance norm without statistics")
        return normal.batch_norm(at, x, weight, bias, running_mean, running_var, epsilon)
    return group_norm(at, x, whole(x, (1,)), weight, bias, epsilon, cudnn)


@aten_rule("log_softmax.int", "_log_softmax.default")
def log_softmax(at: AtenNode, x: Value, axis: int, dtype: Any) -> Value:
    x = at.operand(x, "input")
    axis = normal.axis_of(axis, x.type.rank)
    centred = at.emit(ops.Sub(), x, at.emit(ops.ReduceMax(axes=(axis,)), x, part="max"), part="centred")
    sums = summed(at, at.emit(ops.Exp(), centred, part="exp"), (axis,))
    return at.emit(ops.Sub(), centred, at.emit(ops.Log(), sums, part="log"))


def variance(at: AtenNode, x: Value, axes: Sequence[int] | None, correction: float, part: str) -> tuple[Value, Value]:
    """The variance over axes and the mean, both with the axes as ones."""
    each = normal.axes_of(axes or range(x.type.rank), x.type.rank)
    middle = mean(at, x, each)
    deviation = at.emit(ops.Sub(), x, middle, part="centred")
    count = whole(x, each)
    squares = at.emit(ops.Mul(), deviation, deviation, part="square")
    divisor = max(count - correction, 0)
    if divisor == count:
        return mean(at, squares, each, part), middle
    if divisor == 0:
        raise Unsupported(f"the variance of {count} elements with correction {correction}", advice="use correction=0")
    return emit(at, ops.Div(), summed(at, squares, each, "squares"), divisor, part=part), middle


def variance_rule(root: bool, with_mean: bool) -> Callable[..., Any]:
    """The rule of variances and standard deviations, with the mean or not."""

    def rule(at: AtenNode, x: Value, axes: Any = None, correction: Any = 1, keepdims: bool = False) -> Any:
        if isinstance(axes, bool):
            axes, correction = None, axes
        y, middle = variance(at, x, axes, 1 if correction is None else float(correction), "variance")
        y = at.emit(ops.Sqrt(), y, part="root") if root else y
        gone = () if keepdims else normal.axes_of(axes or range(x.type.rank), x.type.rank)
        results = [normal.reshape(at, v, [d for a, d in enumerate(v.type.shape) if a not in gone]) for v in (y, middle)]
        return tuple(results) if with_mean else results[0]

    return rule


for _name, _root, _with_mean in (
    ("var", False, False),
    ("std", True, False),
    ("var_mean", False, True),
    ("std_mean", True, True),
):
    aten_rule(f"{_name}.default", f"{_name}.dim", f"{_name}.correction")(variance_rule(_root, _with_mean))


@aten_rule("linalg_vector_norm.default")
def vector_norm(at: AtenNode, x: Value, order: float, axes: Sequence[int] | None, keepdims: bool, dtype: Any) -> Value:
    x = at.operand(x, "input")
    each = list(axes or range(x.type.rank))
    if order == 2:
        squares = at.emit(ops.Mul(), x, x, part="square")
        sums = at.emit(ops.ReduceSum(axes=normal.axes_of(each, x.type.rank), keepdims=keepdims), squares, part="sum")
        return at.emit(ops.Sqrt(), sums)
    size = at.emit(ops.Abs(), x, part="abs")
    simple = {1: ops.ReduceSum, float("inf"): ops.ReduceMax, float("-inf"): ops.ReduceMin}
    if order in simple:
        return normal.reduce(at, simple[order], size, each, keepdims)
    if order <= 0:
        raise Unsupported(f"a norm of order {order}", advice="use a positive order")
    op = ops.ReduceSum(axes=normal.axes_of(each, x.type.rank), keepdims=keepdims)
    sums = at.emit(op, emit(at, ops.Pow(), size, order, part="power"), part="sum")
    return emit(at, ops.Pow(), sums, 1 / order)


@aten_rule("norm.ScalarOpt_dim", "norm.Scalar")
def norm(at: AtenNode, x: Value, order: Any, axes: Sequence[int] | None = None, keepdims: bool = False) -> Value:
    return vector_norm(at, x, 2 if order is None else order, axes, keepdims, None)


def arg_reduction(op: type[Op]) -> Callable[..., Value]:
    def rule(at: AtenNode, x: Value, axis: int | None, keepdims: bool) -> Value:
        if axis is None:
            x, axis = normal.reshape(at, x, (normal.flattened(x, 0)[1],), "flat"), 0
        y = at.emit(op(axis=normal.axis_of(axis, x.type.rank), keepdims=False), x)  # type: ignore[call-arg]
        return normal.reshape(at, y, at.shape, "kept")

    return rule


aten_rule("argmax.default")(arg_reduction(ops.ArgMax))
aten_rule("argmin.default")(arg_reduction(ops.ArgMin))
aten_rule("amin.default")(reduction(ops.ReduceMin))
aten_rule("min.default")(total(ops.ReduceMin))
aten_rule("prod.default")(total(ops.ReduceProd))


@aten_rule("prod.dim_int")
def prod(at: AtenNode, x: Value, axis: int, keepdims: bool, dtype: Any) -> Value:
    return normal.reduce(at, ops.ReduceProd, at.operand(x, "input"), [axis], keepdims)


def extreme(value: type[ops.Reduction], place: type[Op]) -> Callable[..., tuple[Value, Value]]:
    """The rule of an extreme along one axis and its index."""

    def rule(at: AtenNode, x: Value, axis: int, keepdims: bool) -> tuple[Value, Value]:
        axis = normal.axis_of(axis, x.type.rank)
        where = at.emit(place(axis=axis, keepdims=keepdims), x, part="index")  # type: ignore[call-arg]
        return normal.reduce(at, value, x, [axis], keepdims), where

    return rule


aten_rule("max.dim")(extreme(ops.ReduceMax, ops.ArgMax))
aten_rule("min.dim")(extreme(ops.ReduceMin, ops.ArgMin))


def quantifier(op: type[ops.Reduction]) -> Callable[..., Value]:
    """The rule of ``any`` and ``all``: a maximum or minimum of zeros and ones."""

    def rule(at: AtenNode, x: Value, axes: Any = None, keepdims: bool = False) -> Value:
        each = [axes] if isinstance(axes, int) else axes or range(x.type.rank)
        numbers = at.emit(ops.Cast(to="int32"), at.cast(x, "bool", "truth"), part="numbers")
        kept = op(axes=normal.axes_of(each, x.type.rank), keepdims=keepdims)
        return at.cast(at.emit(kept, numbers, part="extreme"), "bool")

    return rule


for _name, _op in (("any", ops.ReduceMax), ("all", ops.ReduceMin)):
    aten_rule(f"{_name}.default", f"{_name}.dim", f"{_name}.dims")(quantifier(_op))
