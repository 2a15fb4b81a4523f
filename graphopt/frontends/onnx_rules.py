"""The rules of the ONNX operators that compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.onnx_node import Node, onnx_rule
from graphopt.ir import Op, Value
from graphopt.ops import Window


def unary(make: Callable[[Node], Op]) -> Callable[[Node], Value]:
    return lambda at: at.emit(make(at), at.value(0))


onnx_rule("Relu")(unary(lambda at: ops.Relu()))
onnx_rule("Sigmoid")(unary(lambda at: ops.Sigmoid()))
onnx_rule("Tanh")(unary(lambda at: ops.Tanh()))
onnx_rule("HardSwish")(unary(lambda at: ops.HardSwish()))
onnx_rule("Exp")(unary(lambda at: ops.Exp()))
onnx_rule("Sqrt")(unary(lambda at: ops.Sqrt()))
onnx_rule("Neg")(unary(lambda at: ops.Neg()))
onnx_rule("Abs")(unary(lambda at: ops.Abs()))
onnx_rule("LeakyRelu")(unary(lambda at: ops.LeakyRelu(alpha=at.real("alpha", 0.01))))
onnx_rule("HardSigmoid")(unary(lambda at: ops.HardSigmoid(alpha=at.real("alpha", 0.2), beta=at.real("beta", 0.5))))


@onnx_rule("Swish")
def swish(at: Node) -> Value:
    if at.real("alpha", 1.0) != 1.0:
        raise Unsupported("swish with another alpha than 1", advice="write it as x * sigmoid(alpha * x)")
    return at.emit(ops.Silu(), at.value(0))


@onnx_rule("Clip")
def clip(at: Node) -> Value:
    """Limits are attributes up to opset 6, then inputs."""
    low = at.known(1).item() if at.has(1) else at.real("min", -math.inf)
    high = at.known(2).item() if at.has(2) else at.real("max", math.inf)
    return normal.clip(at, at.value(0), float(low), float(high))


@onnx_rule("Dropout", "Identity")
def passed_through(at: Node) -> Value:
    if at.has(2) and bool(at.known(2).item()):
        raise Unsupported("dropout in training mode", advice="export the model in evaluation mode")
    return at.value(0)


def binary(op: type[ops.Binary]) -> Callable[[Node], Value]:
    """The rule of an operator on two operands, or a chain of it on more."""

    def rule(at: Node) -> Value:
        first, *rest = at.values
        if at.opset < 7 and at.whole("broadcast", 0):
            rest = [aligned(at, first, rest[0])]
        if not rest:
            return first
        *inner, last = rest
        for other in inner:
            first = at.emit(op(), first, other, part="partial")
        return at.emit(op(), first, last)

    return rule


def aligned(at: Node, a: Value, b: Value) -> Value:
    """The second operand of opset 6, which starts at an axis of the first instead of ending at its last."""
    axis = at.whole("axis", a.type.rank - b.type.rank)
    tail = a.type.rank - normal.axis_of(axis, a.type.rank) - b.type.rank if b.type.rank else 0
    return normal.reshape(at, b, (*b.type.shape, *(1,) * tail), "aligned")


onnx_rule("Add", "Sum")(binary(ops.Add))
onnx_rule("Sub")(binary(ops.Sub))
onnx_rule("Mul")(binary(ops.Mul))
onnx_rule("Div")(binary(ops.Div))
onnx_rule("Min")(binary(ops.Minimum))
onnx_rule("Max")(binary(ops.Maximum))


@onnx_rule("Pow")
def power(at: Node) -> Value:
    """The exponent may have a dtype of its own; a constant one is converted."""
    base, exponent = at.value(0), at.value(1)
    if at.opset < 7 and at.whole("broadcast", 0):
        exponent = aligned(at, base, exponent)
    dtype = base.type.dtype
    if exponent.type.dtype != dtype:
        exponent = at.derive(exponent, dtype, lambda a: a.astype(dtype))
    return at.emit(ops.Pow(), base, exponent)


@onnx_rule("Reciprocal")
def reciprocal(at: Node) -> Value:
    x = at.value(0)
    return at.emit(ops.Div(), at.constant(np.ones((), x.type.dtype), "one"), x)


@onnx_rule("Softmax")
def softmax(at: Node) -> Value:
    """Before opset 13 it normalises over all axes from the given one on."""
    x, old = at.value(0), at.opset < 13
    axis = normal.axis_of(at.whole("axis", 1 if old else -1), x.type.rank)
    if not old or axis == x.type.rank - 1:
        return normal.softmax(at, x, axis)
    flat = normal.reshape(at, x, normal.flattened(x, axis), "flat")
    return normal.reshape(at, at.emit(ops.Softmax(axis=1), flat, part="softmax"), x.type.shape)


@onnx_rule("MatMul")
def matmul(at: Node) -> Value:
    return normal.matmul(at, at.value(0), at.value(1))


@onnx_rule("Gemm")
def gemm(at: Node) -> Value:
    """alpha * A' * B' + beta * C: a linear operator where B is a constant and C a constant row."""
    alpha, beta = at.real("alpha", 1.0), at.real("beta", 1.0)
    a, b, c = at.value(0), at.value(1), at.optional(2)
    a = normal.transpose(at, a, (1, 0), "transposed") if at.whole("transA", 0) else a
    if b.constant is not None:
        weight, size = gemm_weight(at, b, alpha), b.type.static_shape[0 if at.whole("transB", 0) else 1]
        row = c is None or (c.constant is not None and c.type.static_shape in ((size,), (1, size), (1,), (1, 1), ()))
        if row:
            return normal.linear(at, a, weight, None if c is None or beta == 0 else gemm_bias(at, c, beta, size))
        y = at.emit(ops.Linear(), a, weight, normal.zero_bias(at, weight, size), part="product")
    else:
        b = normal.transpose(at, b, (1, 0), "transposed") if at.whole("transB", 0) else b
        y = scaled(at, at.emit(ops.MatMul(), a, b, part="product"), alpha, "alpha")
    return y if c is None or beta == 0 else at.emit(ops.Add(), y, scaled(at, c, beta, "beta"))


def gemm_weight(at: Node, b: Value, alpha: float) -> Value:
    """alpha * B as [out, in]."""
    transposed = bool(at.whole("transB", 0))
    if transposed and alpha == 1.0:
        return b
    if alpha == 1.0:
        return at.derive(b, "transposed", np.transpose)
    return at.derive(b, f"{alpha} {transposed}", lambda m: m.dtype.type(alpha) * (m if transposed else m.T))


def gemm_bias(at: Node, c: Value, beta: float, size: int) -> Value:
    """beta * C as [out]."""
    if beta == 1.0 and c.type.shape == (size,):
        return c
    return at.derive(c, f"{beta} {size}", lambda v: np.broadcast_to(v.dtype.type(beta) * v.reshape(-1), (size,)))


def scaled(at: Node, x: Value, factor: float, part: str) -> Value:
    """x times a factor of Gemm."""
    if factor == 1.0:
        return x
    return at.emit(ops.Mul(), x, at.constant(np.array(factor, x.type.dtype), part), part=f"{part}_scaled")


@onnx_rule("BatchNormalization")
def batch_norm(at: Node) -> Value:
    if at.whole("training_mode", 0) or not at.whole("spatial", 1):
        raise Unsupported("batch norm in training mode, or not by channel", advice="export in evaluation mode")
    x, scale, bias, mean, var = at.values
    return normal.batch_norm(at, x, scale, bias, mean, var, at.real("epsilon", 1e-5))


def explicit_pads(at: Node, x: Value, window: Window) -> tuple[int, ...]:
    """The pads of a window, ``auto_pad`` resolved."""
    auto = at.text("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return window.pads
    if auto not in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        raise Unsupported(f"auto_pad {auto!r}")
    totals = [0] * window.rank
    if auto != "VALID":
        for axis, size in enumerate(normal.spatial(x)):
            stride = window.strides[axis]
            totals[axis] = max((-(-size // stride) - 1) * stride + window.extent[axis] - size, 0)
    return halves(totals, more_after=auto == "SAME_UPPER")


def halves(totals: Sequence[int], more_after: bool) -> tuple[int, ...]:
    """Pads that share out the totals, the odd element after or before."""
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (*less, *more) if more_after else (*more, *less)


@onnx_rule("Conv")
def conv(at: Node) -> Value:
    x, weight = at.value(0), at.value(1)
    window = Window.of(weight.type.shape[2:], at.ints("strides"), at.ints("pads"), at.ints("dilations"))
    pads = explicit_pads(at, x, window)
    op = ops.Conv(strides=window.strides, pads=pads, dilations=window.dilations, group=at.whole("group", 1))
    return normal.conv(at, op, x, weight, at.optional(2))


@onnx_rule("ConvTranspose")
def conv_transpose(at: Node) -> Value:
    x, weight = at.value(0), at.value(1)
    window = Window.of(weight.type.shape[2:], at.ints("strides"), at.ints("pads"), at.ints("dilations"))
    extra = at.ints("output_padding") or (0,) * window.rank
    op = ops.ConvTranspose(
        strides=window.strides,
        pads=transposed_pads(at, x, window, extra),
        dilations=window.dilations,
        output_padding=extra,
        group=at.whole("group", 1),
    )
    return normal.conv(at, op, x, weight, at.optional(2))


def transposed_pads(at: Node, x: Value, window: Window, extra: Sequence[int]) -> tuple[int, ...]:
    """The pads of a transposed convolution, which may be given by the shape of the output."""
    auto, wanted = at.text("auto_pad", "NOTSET"), at.ints("output_shape")[-window.rank :]
    sizes = normal.spatial(x)
    if auto in ("SAME_UPPER", "SAME_LOWER") and not wanted:
        wanted = tuple(size * stride for size, stride in zip(sizes, window.strides, strict=True))
    if not wanted:
        return window.pads if auto == "NOTSET" else (0,) * 2 * window.rank
    full = [
        (size - 1) * stride + extent + more
        for size, stride, extent, more in zip(sizes, window.strides, window.extent, extra, strict=True)
    ]
    totals = [f - w for f, w in zip(full, wanted, strict=True)]
    if min(totals) < 0:
        raise Unsupported(f"output_shape {wanted} beyond what the convolution reaches", advice="use output_padding")
    return halves(totals, more_after=auto == "SAME_UPPER")


def pool_window(at: Node, x: Value) -> dict[str, tuple[int, ...]]:
    """The fields of a pooling operator."""
    kernel = at.ints("kernel_shape")
    window = Window.of(kernel, at.ints("strides"), at.ints("pads"), at.ints("dilations"))
    if not kernel:
        raise InvalidInput("a pooling needs a kernel_shape")
    pads = explicit_pads(at, x, window)
    return {"kernel": kernel, "strides": window.strides, "pads": pads, "dilations": window.dilations}


@onnx_rule("MaxPool")
def max_pool(at: Node) -> Value:
    x = at.value(0)
    return normal.max_pool(at, ops.MaxPool(**pool_window(at, x)), x, bool(at.whole("ceil_mode", 0)))


@onnx_rule("AveragePool")
def average_pool(at: Node) -> Value:
    x = at.value(0)
    op = ops.AveragePool(count_include_pad=bool(at.whole("count_include_pad", 0)), **pool_window(at, x))
    return normal.average_pool(at, op, x, bool(at.whole("ceil_mode", 0)))


@onnx_rule("GlobalAveragePool")
def global_average_pool(at: Node) -> Value:
    x = at.value(0)
    return normal.reduce(at, ops.ReduceMean, x, range(2, x.type.rank), keepdims=True)


@onnx_rule("GlobalMaxPool")
def global_max_pool(at: Node) -> Value:
    x = at.value(0)
    return normal.reduce(at, ops.ReduceMax, x, range(2, x.type.rank), keepdims=True)


def reduction(op: type[ops.Reduction]) -> Callable[[Node], Value]:
    """The rule of a reduction; without axes it is over all of them, unless the model says otherwise."""

    def rule(at: Node) -> Value:
        x, axes = at.value(0), at.integers("axes", 1)
        if not axes:
            axes = [] if at.whole("noop_with_empty_axes", 0) else list(range(x.type.rank))
        return normal.reduce(at, op, x, axes, bool(at.whole("keepdims", 1)))

    return rule


onnx_rule("ReduceMean")(reduction(ops.ReduceMean))
onnx_rule("ReduceSum")(reduction(ops.ReduceSum))
onnx_rule("ReduceMax")(reduction(ops.ReduceMax))
