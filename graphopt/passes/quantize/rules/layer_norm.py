"""Layer norm in integers."""

from __future__ import annotations

import math

import numpy as np

from graphopt.ir import Node, Value, constant
from graphopt.ops import (
    Add,
    Cast,
    Div,
    IntegerSqrt,
    LayerNorm,
    Mul,
    ReduceSum,
    Sub,
    WeightedSum,
)
from graphopt.passes.quantize.form import Operand, Wanted, integer_rule, quantized, reals_of, requantized
from graphopt.rewrite import Decline

FRACTION = 12
"""The fractional bits of a normalized element."""
ROOT_BITS = 52
"""The bits that the integer square root takes."""


@integer_rule(LayerNorm)
def layer_norm(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """Over n elements of integers x, with r = floor(sqrt(4^k (floor(sum c^2 / n) + e))):

    c = n x - sum x, e = round(n^2 epsilon / s^2), k as large as the root has bits for,
    z = trunc(2^(12 + k) c / r), y = requantize(z g + b), where g = round(2^f scale), b = round(2^(12 + f) bias), and
    f is as large as int32 allows. The zero point of x cancels. If all elements are equal, all z are 0.
    """
    x, scale, bias = quantized(operands[0], "its input"), reals_of(operands[1]), reals_of(operands[2])
    op = node.op
    assert isinstance(op, LayerNorm)
    if scale is None or bias is None or x.dtype != "int8":
        raise Decline("its scale or bias is not constant, or its input is not int8")
    rank, n = node.types[0].rank, scale.size
    axes = tuple(range(rank - scale.ndim, rank))
    epsilon = round(min(n * n * op.epsilon / float(x.scale) ** 2, 2.0**40))
    largest = (255 * n) ** 2 + epsilon
    k = (ROOT_BITS - largest.bit_length()) // 2
    if k < 1 or n * largest >= 1 << 62 or n == 1:
        raise Decline(f"over {n} elements it may overflow")
    most = math.sqrt(n) * 2.0**FRACTION
    room = min(most * np.abs(scale).max() + 2.0**FRACTION * np.abs(bias).max(), 2.0**60)
    f = min(30 - math.ceil(math.log2(max(room, 1e-30))), 20)
    if f < 4:
        raise Decline("its scale or bias is too large")
    name = node.name or op.name
    total = ReduceSum(axes=axes)(WeightedSum(factors=(1,))(x.value))
    centred = wide(Sub()(WeightedSum(factors=(n,))(x.value), total))
    power = Div()(ReduceSum(axes=axes)(Mul()(centred, centred)), number(n))
    root = IntegerSqrt()(Mul()(Add()(power, number(max(epsilon, 1))), number(1 << 2 * k)))
    z = Cast(to="int32")(Div()(Mul()(centred, number(1 << (FRACTION + k))), root))
    scales = constant(np.rint(scale * 2.0**f).astype("int32"), f"{name}.scale")
    terms = constant(np.rint(bias * 2.0 ** (FRACTION + f)).astype("int32"), f"{name}.bias")
    acc = Add()(Mul()(z, scales), terms)
    return requantized(acc, np.asarray(2.0 ** -(FRACTION + f) / wanted.scale), wanted, node)


def wide(x: Value) -> Value:
    return Cast(to="int64")(x)


def number(value: int) -> Value:
    return constant(np.asarray(value, "int64"))
