"""Convolutions, poolings and products: operators on images have channels in front here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tflite

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.limits import room
from graphopt.frontends.tflite.node import RANK, TfliteNode, activated, dequantized, tflite_rule
from graphopt.ir import Value


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...]:
    """The pads with which a window gives size / stride results, rounded up; an odd one is behind."""
    totals = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        results = -(-size // stride)
        totals.append(max((results - 1) * stride + dilation * (k - 1) + 1 - size, 0))
    return (*(t // 2 for t in totals), *(t - t // 2 for t in totals))


def pads_of(
    padding: int, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...]:
    if min(*strides, *dilations, *kernel) < 1:
        raise InvalidInput(f"a window of {list(kernel)} by steps of {list(strides)}, dilated by {list(dilations)}")
    room(*kernel)
    if padding == tflite.Padding.VALID:
        return (0,) * 2 * len(kernel)
    if padding == tflite.Padding.SAME:
        return same_pads(normal.spatial(x), kernel, strides, dilations)
    raise InvalidInput(f"the padding {padding} is neither SAME nor VALID")


def check_image(at: TfliteNode, index: int = 0) -> None:
    """Raise ``Unsupported`` if an input is no batch of images."""
    if at.rank(index) != RANK:
        raise Unsupported(f"an input of rank {at.rank(index)}", advice="images of rank 4 are read")


def image(at: TfliteNode, index: int = 0) -> Value:
    check_image(at, index)
    return at.real(index)


def convolved(at: TfliteNode, op: ops.Conv, weight: Value, bias: Value) -> Value:
    """A convolution of the input; a pad by zeros in front of it becomes one of its own."""
    pad = at.raw(0)
    parameters = at.tensor(0).parameters
    zero = 0.0 if parameters is None else float(parameters.zero_point[0])
    if not isinstance(pad.op, ops.Pad) or pad.op.value != zero or any(pad.op.pads[i] for i in (0, 1, 4, 5)):
        return normal.conv(at, op, at.real(0), weight, bias)
    x = pad.node.inputs[0] if parameters is None else dequantized(pad.node.inputs[0], parameters, at.held(0).name)
    own = (*pad.op.pads[2:4], *pad.op.pads[6:8])
    return normal.conv(at, replace(op, pads=tuple(a + b for a, b in zip(op.pads, own, strict=True))), x, weight, bias)


def channels_of(x: Value) -> int:
    return x.type.with_shape(x.type.shape[1:2]).static_shape[0]


@tflite_rule("CONV_2D", layout="first")
def conv(at: TfliteNode) -> Value:
    """The weights are [o, h, w, c / groups]."""
    options, x = at.options("Conv2DOptions"), image(at)
    weight = at.weight(1, (0, 3, 1, 2))
    out, depth, *kernel = weight.type.static_shape
    strides, dilations = (options.StrideH(), options.StrideW()), (options.DilationHFactor(), options.DilationWFactor())
    channels = channels_of(x)
    if not depth or channels % depth:
        raise InvalidInput(f"{channels} channels for weights of {depth}")
    pads = pads_of(options.Padding(), x, kernel, strides, dilations)
    op = ops.Conv(strides=strides, pads=pads, dilations=dilations, group=channels // depth)
    y = convolved(at, op, weight, at.bias(2, 1, out))
    return activated(at, y, options.FusedActivationFunction())


@tflite_rule("DEPTHWISE_CONV_2D", layout="first")
def depthwise_conv(at: TfliteNode) -> Value:
    """The weights are [1, h, w, channels * multiplier]."""
    options, x = at.options("DepthwiseConv2DOptions"), image(at)
    weight = at.weight(1, (3, 0, 1, 2))
    out, one, *kernel = weight.type.static_shape
    strides, dilations = (options.StrideH(), options.StrideW()), (options.DilationHFactor(), options.DilationWFactor())
    if one != 1 or out % channels_of(x):
        raise InvalidInput(f"weights of {out} channels, {one} deep, for an input of {channels_of(x)}")
    pads = pads_of(options.Padding(), x, kernel, strides, dilations)
    op = ops.Conv(strides=strides, pads=pads, dilations=dilations, group=channels_of(x))
    y = convolved(at, op, weight, at.bias(2, 1, out))
    return activated(at, y, options.FusedActivationFunction())


@tflite_rule("AVERAGE_POOL_2D", "MAX_POOL_2D", layout="first")
def pool(at: TfliteNode) -> Value:
    """Averages count no padding."""
    options, x = at.options("Pool2DOptions"), image(at)
    kernel, strides = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
    pads = pads_of(options.Padding(), x, kernel, strides, (1, 1))
    if at.op == "MAX_POOL_2D":
        y = normal.max_pool(at, ops.MaxPool(kernel=kernel, strides=strides, pads=pads), x)
    elif kernel == normal.spatial(x) and not any(pads):
        y = at.emit(ops.ReduceMean(axes=(2, 3)), x)
    else:
        y = normal.average_pool(at, ops.AveragePool(kernel=kernel, strides=strides, pads=pads), x)
    return activated(at, y, options.FusedActivationFunction())


@tflite_rule("L2_POOL_2D", layout="first")
def l2_pool(at: TfliteNode) -> Value:
    """The root of the average of squares."""
    options, x = at.options("Pool2DOptions"), image(at)
    kernel, strides = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
    pads = pads_of(options.Padding(), x, kernel, strides, (1, 1))
    squares = at.emit(ops.Mul(), x, x, part="squares")
    mean = normal.average_pool(at, ops.AveragePool(kernel=kernel, strides=strides, pads=pads), squares)
    return activated(at, at.emit(ops.Sqrt(), mean), options.FusedActivationFunction())


@tflite_rule("TRANSPOSE_CONV", layout="first")
def transposed_conv(at: TfliteNode) -> Value:
    """Inputs are the shape of the result, weights [o, h, w, c], and x; what is too much is cut as SAME would pad."""
    options, x = at.options("TransposeConvOptions"), image(at, 2)
    weight = at.weight(1, (3, 0, 1, 2))
    depth, out, *kernel = weight.type.static_shape
    wanted, strides = at.integers(0)[1:3], (options.StrideH(), options.StrideW())
    if depth != channels_of(x) or min(strides) < 1 or len(wanted) != 2:
        raise InvalidInput(f"weights of depth {depth} and strides {strides} for {x.type}")
    same = options.Padding() == tflite.Padding.SAME
    before, after, extra = [], [], []
    for size, k, stride, want in zip(normal.spatial(x), kernel, strides, wanted, strict=True):
        surplus = (size - 1) * stride + k - want
        first = max(surplus, 0) // 2 if same else 0
        before.append(first)
        after.append(max(surplus - first, 0))
        extra.append(max(-surplus, 0))
    op = ops.ConvTranspose(strides=strides, pads=(*before, *after), output_padding=tuple(extra))
    y = normal.conv(at, op, x, weight, at.bias(3, 1, out, x=2))
    return activated(at, y, options.FusedActivationFunction())
