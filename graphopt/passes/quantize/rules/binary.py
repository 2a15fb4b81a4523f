"""Products of binary weights with the signs of their input: packed signs, XOR and popcount, one requantize."""

from __future__ import annotations

import math

import numpy as np

from graphopt.ir import Array, Node, Value, constant, numel
from graphopt.ops import Conv, ConvXnor, PackSigns, Reshape, pack_signs
from graphopt.passes.quantize.form import Operand, Quantized, Signs, Wanted, dequantized, reals_of, requantized
from graphopt.rewrite import Decline

MOST_UNIT = 1 << 16
"""A bias is rounded to 1 / MOST_UNIT of a product, if the accumulator has enough bits."""


def xnor(node: Node, signs: Signs, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """requantize(conv_xnor(signs, w, round(b unit / (s_x s_w)))); a linear layer has no spatial axes."""
    w, b = operands[1], reals_of(operands[2])
    if not isinstance(w, Quantized) or w.array is None or b is None or w.zero_point or np.any(np.abs(w.array) != 1):
        raise Decline("its input is binary, but its weights are not, or its bias is not constant")
    if getattr(node.op, "group", 1) > 1:
        raise Decline("a convolution in groups has no form on signs")
    if w.axis:
        raise Decline(f"its weights are quantized along axis {w.axis}")
    scale = np.broadcast_to(signs.scale * w.scale, b.shape)
    unit = unit_of(b / scale, math.prod(w.array.shape[1:]))
    scale = scale / unit
    bias = np.rint(b / scale).astype(np.int32)
    name, channels = node.name or node.op.name, w.array.shape[1]
    geometry = {k: v for k, v in vars(node.op).items() if k in ("strides", "pads", "dilations")}
    operand = packed(signs.source, None if isinstance(node.op, Conv) else channels)
    weight = constant(pack_signs(w.array < 0), like=w.value)
    op = ConvXnor(channels=channels, unit=unit, **geometry)
    acc = op(operand, weight, constant(bias, f"{name}.bias"), name=f"{name}.acc", origins=node.origins)
    column = (-1, *[1] * (acc.type.rank - 2))
    y = requantized(acc, (scale / wanted.scale).reshape(column), wanted, node)
    shape = node.types[0].shape
    return y if y.type.shape == shape else Reshape(shape=shape)(y, name=node.name, origins=node.origins)


def unit_of(bias: Array, products: int) -> int:
    """The weight of one product of signs in the accumulator, a power of two; the bias is given in products.

    Declines if a sum may overflow.
    """
    largest = np.abs(bias) + 2.0 * products + 1
    if largest.max() >= 1 << 31:
        raise Decline(f"the accumulator of channel {int(largest.argmax())} may overflow")
    return int(min(MOST_UNIT, 1 << int(np.log2((1 << 31) / largest.max()))))


def packed(source: Value, row: int | None) -> Value:
    """The packed signs of integers or floats; as a matrix with rows of length ``row``, if given."""
    x = dequantized(source)
    whole = x is not None and not x.scale.ndim
    value, threshold = (x.value, x.zero_point) if x is not None and whole else (source, 0)
    if row is not None and value.type.rank != 2:
        value = Reshape(shape=(numel(value.type.shape[:-1]), row))(value)
    return PackSigns(threshold=threshold)(value)
