"""Convolutions and matrix products: integer products, the bias in the accumulator, one requantisation."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Node, Value, constant
from graphopt.ops import (
    ACCUMULATORS,
    Conv,
    ConvInteger,
    ConvTranspose,
    ConvTransposeInteger,
    IntegerProduct,
    Linear,
    LinearInteger,
    MatMul,
    MatMulInteger,
    overflowing,
)
from graphopt.passes.quantize.form import Operand, Quantized, Wanted, integer_rule, quantized, reals_of, requantized
from graphopt.rewrite import Decline


@integer_rule(Conv, weight=1, activates=True)
def conv(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    return product(node, ConvInteger, operands, wanted, channel_axis=1)


@integer_rule(ConvTranspose, weight=1, axis=1, activates=True)
def conv_transpose(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    return product(node, ConvTransposeInteger, operands, wanted, channel_axis=1)


@integer_rule(Linear, weight=1, activates=True)
def linear(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    return product(node, LinearInteger, operands, wanted, channel_axis=node.types[0].rank - 1)


def product(
    node: Node, op: type[IntegerProduct], operands: tuple[Operand, ...], wanted: Wanted, channel_axis: int
) -> Value:
    """requantize(op(x, w, round(b / (s_x s_w)))), the result's channels along ``channel_axis``."""
    x, w, b = quantized(operands[0], "its input"), operands[1], reals_of(operands[2])
    if not isinstance(w, Quantized) or w.array is None or b is None or w.dtype != "int8":
        raise Decline("its weights or its bias are not constant")
    if w.zero_point:
        raise Decline("its weights are not symmetric")
    scale = x.scale * w.scale
    wide = ACCUMULATORS[x.dtype]
    bias = np.rint(b / scale)
    # of a transposed convolution the channels are not the first axis of the weights
    by_channel = np.moveaxis(w.array, w.axis or 0, 0) if op is ConvTransposeInteger else w.array
    rows = by_channel.reshape(len(by_channel), -1)
    channel = overflowing(np.resize(rows, (len(bias), rows.shape[1])), bias, x.dtype)
    if channel is not None:
        raise Decline(f"the accumulator of channel {channel} may overflow")
    ratio = (scale / wanted.scale).reshape(*scale.shape, *([1] * (node.types[0].rank - channel_axis - 1) * scale.ndim))
    name = node.name or node.op.name
    integer = op(**vars(node.op), zero_point=x.zero_point, bits=stored_bits(w.array))
    acc = integer(
        x.value, w.value, constant(bias.astype(wide), f"{name}.bias"), name=f"{name}.acc", origins=node.origins
    )
    return requantized(acc, ratio, wanted, node)


def stored_bits(weight: Array) -> int:
    """The bits that the integers of weights need."""
    largest = int(np.abs(weight).max(initial=0))
    if largest == 1 and np.all(weight):
        return 1
    return 4 if largest <= 7 else 8


@integer_rule(MatMul, activates=True)
def matmul(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """Two quantized operands; a constant one is quantized as an activation would be."""
    a, b = (quantized(o, "an operand") for o in operands)
    depth = node.inputs[0].type.shape[-1]
    if not isinstance(depth, int) or depth * a.steps * b.steps >= 1 << (31 if a.dtype == "int8" else 46):
        raise Decline(f"sums of {depth} products may overflow")
    op, name = MatMulInteger(a_zero_point=a.zero_point, b_zero_point=b.zero_point), node.name or node.op.name
    acc = op(a.value, b.value, name=f"{name}.acc", origins=node.origins)
    return requantized(acc, a.scale * b.scale / wanted.scale, wanted, node)
