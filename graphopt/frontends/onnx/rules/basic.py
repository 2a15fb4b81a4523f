"""The rules of the ONNX matrix products, convolutions and poolings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import emit
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.frontends.onnx.rules.reduce import powers, rooted
from graphopt.ir import Value
from graphopt.ops import Window


@onnx_rule("MatMul")
def matmul(at: OnnxNode) -> Value:
    return normal.matmul(at, at.value(0), at.value(1))


@onnx_rule("Gemm")
def gemm(at: OnnxNode) -> Value:
    """alpha * A' * B' + beta * C: a linear operator where B is fixed and C a fixed row."""
    alpha, beta = at.real("alpha"), at.real("beta")
    a, b, c = at.value(0), at.value(1), at.optional(2)
    a = normal.transpose(at, a, (1, 0), "transposed") if at.flag("transA") else a
    if b.constant is not None or (alpha == 1.0 and normal.is_fixed(b)):
        weight, size = gemm_weight(at, b, alpha), b.type.static_shape[0 if at.flag("transB") else 1]
        row = c is None or gemm_row(c, beta, size)
        if row:
            return normal.linear(at, a, weight, None if c is None or beta == 0 else gemm_bias(at, c, beta, size))
        y = at.emit(ops.Linear(), a, weight, normal.zero_bias(at, weight, size), part="product")
    else:
        b = normal.transpose(at, b, (1, 0), "transposed") if at.flag("transB") else b
        y = scaled(at, at.emit(ops.MatMul(), a, b, part="product"), alpha, "alpha")
    return y if c is None or beta == 0 else at.emit(ops.Add(), y, scaled(at, c, beta, "beta"))


def gemm_weight(at: OnnxNode, b: Value, alpha: float) -> Value:
    """alpha * B as [out, in]."""
    transposed = at.flag("transB")
    if transposed and alpha == 1.0:
        return b
    if alpha == 1.0:
        return normal.transposed(at, b)
    return at.derive(b, f"{alpha} {transposed}", lambda m: m.dtype.type(alpha) * (m if transposed else m.T))


def gemm_row(c: Value, beta: float, size: int) -> bool:
    """Whether C is a bias: a constant row, or one that is dequantized and needs no change."""
    if c.constant is None:
        return normal.is_fixed(c) and beta == 1.0 and c.type.shape == (size,)
    return c.type.static_shape in ((size,), (1, size), (1,), (1, 1), ())


def gemm_bias(at: OnnxNode, c: Value, beta: float, size: int) -> Value:
    """beta * C as [out]."""
    if beta == 1.0 and c.type.shape == (size,):
        return c
    return at.derive(c, f"{beta} {size}", lambda v: np.broadcast_to(v.dtype.type(beta) * v.reshape(-1), (size,)))


def scaled(at: OnnxNode, x: Value, factor: float, part: str) -> Value:
    """x times a factor of Gemm."""
    if factor == 1.0:
        return x
    return at.emit(ops.Mul(), x, at.constant(np.array(factor, x.type.dtype), part), part=f"{part}_scaled")


def explicit_pads(at: OnnxNode, x: Value, window: Window) -> tuple[int, ...]:
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
def conv(at: OnnxNode) -> Value:
    return convolution(at, at.value(0), at.value(1), at.optional(2))


def convolution(at: OnnxNode, x: Value, weight: Value, bias: Value | None) -> Value:
    """The convolution that the attributes of the node describe."""
    window = Window.of(weight.type.shape[2:], at.ints("strides"), at.ints("pads"), at.ints("dilations"))
    pads = explicit_pads(at, x, window)
    op = ops.Conv(strides=window.strides, pads=pads, dilations=window.dilations, group=at.whole("group"))
    return normal.conv(at, op, x, weight, bias)


@onnx_rule("ConvTranspose")
def conv_transpose(at: OnnxNode) -> Value:
    x, weight = at.value(0), at.value(1)
    window = Window.of(weight.type.shape[2:], at.ints("strides"), at.ints("pads"), at.ints("dilations"))
    extra = at.ints("output_padding") or (0,) * window.rank
    pads, extra = transposed_pads(at, x, window, extra)
    op = ops.ConvTranspose(
        strides=window.strides,
        pads=pads,
        dilations=window.dilations,
        output_padding=extra,
        group=at.whole("group"),
    )
    return normal.conv(at, op, x, weight, at.optional(2))


def transposed_pads(
    at: OnnxNode, x: Value, window: Window, extra: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The pads and the output padding of a transposed convolution, which may be given by the shape of the output."""
    auto, wanted = at.text("auto_pad", "NOTSET"), at.ints("output_shape")[-window.rank :]
    sizes = normal.spatial(x)
    if auto in ("SAME_UPPER", "SAME_LOWER") and not wanted:
        wanted = tuple(size * stride for size, stride in zip(sizes, window.strides, strict=True))
    if not wanted:
        return (window.pads if auto == "NOTSET" else (0,) * 2 * window.rank), tuple(extra)
    full = [
        (size - 1) * stride + extent + more
        for size, stride, extent, more in zip(sizes, window.strides, window.extent, extra, strict=True)
    ]
    totals = [f - w for f, w in zip(full, wanted, strict=True)]
    pads = halves([max(t, 0) for t in totals], more_after=auto == "SAME_UPPER")
    return pads, tuple(more + max(-t, 0) for more, t in zip(extra, totals, strict=True))


def pool_window(at: OnnxNode, x: Value) -> dict[str, tuple[int, ...]]:
    """The fields of a pooling operator."""
    kernel = at.ints("kernel_shape")
    window = Window.of(kernel, at.ints("strides"), at.ints("pads"), at.ints("dilations"))
    if not kernel:
        raise InvalidInput("a pooling needs a kernel_shape")
    pads = explicit_pads(at, x, window)
    return {"kernel": kernel, "strides": window.strides, "pads": pads, "dilations": window.dilations}


@onnx_rule("MaxPool")
def max_pool(at: OnnxNode) -> Value:
    x = at.value(0)
    if not x.type.is_float and x.type.dtype not in ("int8", "uint8"):
        raise Unsupported(f"max pooling of {x.type.dtype}")
    return normal.max_pool(at, ops.MaxPool(**pool_window(at, x)), x, at.flag("ceil_mode"))


@onnx_rule("AveragePool")
def average_pool(at: OnnxNode) -> Value:
    return averaged(at, at.value(0))


def averaged(at: OnnxNode, x: Value) -> Value:
    """The average pooling that the attributes of the node describe.

    Where padding counts, but not what rounding up adds, the padding is made part of the input.
    """
    op = ops.AveragePool(count_include_pad=at.flag("count_include_pad"), **pool_window(at, x))
    if not at.flag("ceil_mode") or not op.count_include_pad or not any(op.pads):
        return normal.average_pool(at, op, x, at.flag("ceil_mode"))
    rank = len(op.kernel)
    added = tuple(full - own for full, own in zip(normal.ceil_pads(op, x), op.pads, strict=True))
    x = normal.pad(at, x, (0, 0, *op.pads[:rank]), (0, 0, *op.pads[rank:]))
    return normal.average_pool(at, dataclasses.replace(op, pads=added, count_include_pad=False), x)


@onnx_rule("LpPool")
def lp_pool(at: OnnxNode) -> Value:
    """The p-norm of every window; padding is zero."""
    x, p = at.value(0), at.whole("p")
    fields = pool_window(at, x)
    if at.flag("ceil_mode"):
        fields["pads"] = normal.ceil_pads(ops.MaxPool(**fields), x)
    means = at.emit(normal.plain(ops.AveragePool(count_include_pad=True, **fields)), powers(at, x, p), part="means")
    sums = emit(at, ops.Mul(), means, math.prod(fields["kernel"]), part="sums")
    return rooted(at, sums, p)


@onnx_rule("GlobalAveragePool")
def global_average_pool(at: OnnxNode) -> Value:
    x = at.value(0)
    return normal.reduce(at, ops.ReduceMean, x, range(2, x.type.rank), keepdims=True)


@onnx_rule("GlobalMaxPool")
def global_max_pool(at: OnnxNode) -> Value:
    x = at.value(0)
    return normal.reduce(at, ops.ReduceMax, x, range(2, x.type.rank), keepdims=True)


@onnx_rule("Col2Im")
def col2im(at: OnnxNode) -> Value:
    """Columns added up into an image: a transposed convolution, each column its place in the block."""
    x = at.value(0)
    image, block = at.integers("", 1) or [], at.integers("", 2) or []
    rank, taps = len(image), math.prod(block)
    window = Window.of(tuple(block), at.ints("strides"), at.ints("pads"), at.ints("dilations"))
    (columns,) = x.type.with_shape(x.type.shape[1:2]).static_shape
    places = [
        (size + sum(window.axis_pads(axis)) - window.extent[axis]) // window.strides[axis] + 1
        for axis, size in enumerate(image)
    ]
    reached = [(p - 1) * s + e for p, s, e in zip(places, window.strides, window.extent, strict=True)]
    extra = tuple(size + sum(window.axis_pads(a)) - reached[a] for a, size in enumerate(image))
    weight = np.tile(np.eye(taps, dtype=x.type.dtype).reshape(taps, 1, *block), (columns // taps, 1, *(1,) * rank))
    op = ops.ConvTranspose(
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        output_padding=extra,
        group=columns // taps,
    )
    grid = normal.reshape(at, x, (x.type.shape[0], columns, *places), "grid")
    return normal.conv(at, op, grid, at.constant(weight, "places"), None)
