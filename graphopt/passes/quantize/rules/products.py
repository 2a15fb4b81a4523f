"""Convolutions and matrix products: integer products, the bias in the accumulator, one requantize."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Node, Value, constant
from graphopt.ops import (
    ACCUMULATORS,
    Add,
    Cast,
    Conv,
    ConvInteger,
    ConvTranspose,
    ConvTransposeInteger,
    IntegerProduct,
    Linear,
    LinearInteger,
    MatMul,
    MatMulInteger,
    compacted,
    overflowing,
)
from graphopt.passes.quantize.form import (
    Operand,
    Quantized,
    Wanted,
    binarized,
    integer_rule,
    quantized,
    reals_of,
    requantized,
)
from graphopt.passes.quantize.rules.binary import xnor
from graphopt.rewrite import Decline


@integer_rule(Conv, weights=((1, 0),), bias=2, activates=True)
def conv(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    signs = binarized(node.inputs[0])
    if signs is not None:
        return xnor(node, signs, operands, wanted)
    return product(node, ConvInteger, operands, wanted, channel_axis=1)


@integer_rule(ConvTranspose, weights=((1, 1),), bias=2, activates=True)
def conv_transpose(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    return product(node, ConvTransposeInteger, operands, wanted, channel_axis=1)


@integer_rule(Linear, weights=((1, 0),), bias=2, activates=True)
def linear(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    signs = binarized(node.inputs[0])
    if signs is not None:
        return xnor(node, signs, operands, wanted)
    return product(node, LinearInteger, operands, wanted, channel_axis=node.types[0].rank - 1)


def product(
    node: Node, op: type[IntegerProduct], operands: tuple[Operand, ...], wanted: Wanted, channel_axis: int
) -> Value:
    """requantize(op(x, w, round(b / (s_x s_w)))), with the result's channels along ``channel_axis``."""
    x, w, b = quantized(operands[0], "its input"), operands[1], reals_of(operands[2])
    if not isinstance(w, Quantized) or w.array is None or b is None:
        raise Decline("its weights or its bias are not constant, or the weights are not quantized")
    if w.zero_point:
        raise Decline("its weights are not symmetric")
    if w.array.min(initial=0) < -128 - 127 or w.array.max(initial=0) > 127 + 127:
        raise Decline(f"its weights reach from {w.array.min()} to {w.array.max()}, beyond the sums of two int8")
    rows = rows_of(w.array, op, getattr(node.op, "group", 1))
    scale = x.scale * scale_of(w, op, len(rows))
    wide = ACCUMULATORS[x.dtype]
    bias = np.rint(b / scale)
    channel = overflowing(rows, bias, x.dtype)
    if channel is not None:
        raise Decline(f"the accumulator of channel {channel} may overflow")
    name = node.name or node.op.name
    biases = [constant(bias.astype(wide), f"{name}.bias"), constant(np.zeros(len(bias), wide), f"{name}.zeros")]
    sums = []
    for part, added in zip(int8_parts(w.array), biases, strict=False):
        integer = op.of(node.op, zero_point=x.zero_point)
        sums.append(integer(x.value, compacted(part, like=w.value), added, name=f"{name}.acc", origins=node.origins))
    acc = sums[0] if len(sums) == 1 else Add()(*sums)
    column = (*scale.shape, *[1] * (node.types[0].rank - channel_axis - 1)) if scale.ndim else ()
    return requantized(acc, np.reshape(scale / wanted.scale, column), wanted, node)


def rows_of(weight: Array, op: type[IntegerProduct], group: int) -> Array:
    """The weights that each channel of the result sums over: [channels, products]."""
    if op is not ConvTransposeInteger:
        return weight.reshape(len(weight), -1)
    parts = weight.reshape(group, len(weight) // group, weight.shape[1], -1)
    return parts.transpose(0, 2, 1, 3).reshape(group * weight.shape[1], -1)


def scale_of(weight: Quantized, op: type[IntegerProduct], channels: int) -> Array:
    """The scale of weights: one number, or one per channel of the result; scales of a group repeat for every group."""
    if not weight.scale.ndim:
        return weight.scale
    if weight.axis != (1 if op is ConvTransposeInteger else 0):
        raise Decline(f"its weights are quantized along axis {weight.axis}")
    return np.resize(weight.scale, channels)


def int8_parts(weight: Array) -> list[Array]:
    """Weights as int8 terms: one, or two if they need nine bits, such as unsigned ones minus their zero_point."""
    if weight.dtype == np.int8:
        return [weight]
    near = np.clip(weight, -127, 127)
    return [near.astype("int8"), (weight - near).astype("int8")]


@integer_rule(MatMul, activates=True)
def matmul(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """Two quantized operands; a constant one is quantized as an activation would be."""
    a, b = (quantized(o, "an operand") for o in operands)
    depth = node.inputs[0].type.shape[-1]
    if not isinstance(depth, int) or depth * a.steps * b.steps >= 1 << (31 if a.dtype == b.dtype == "int8" else 46):
        raise Decline(f"sums of {depth} products may overflow")
    op, name = MatMulInteger(a_zero_point=a.zero_point, b_zero_point=b.zero_point), node.name or node.op.name
    left, right = (x.value if a.dtype == b.dtype else as_int16(x.value) for x in (a, b))
    acc = op(left, right, name=f"{name}.acc", origins=node.origins)
    return requantized(acc, a.scale * b.scale / wanted.scale, wanted, node)


def as_int16(x: Value) -> Value:
    """int8 as int16, for products with int16."""
    return x if x.type.dtype == "int16" else Cast(to="int16")(x)
