"""Softmax in integers."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Node, Value, constant
from graphopt.ops import Add, Cast, Clip, Div, Lookup, Mul, ReduceMax, ReduceSum, Softmax, Sub
from graphopt.passes.quantize.form import Operand, Wanted, integer_rule, quantized
from graphopt.rewrite import Decline

ONE = 1 << 15
"""exp(0) in the table of exponentials."""


@integer_rule(Softmax, fixed=(0.0, 255 / 256))
def softmax(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """With d = x - max x in [-255, 0], e = table[d] = round(2^15 exp(s d)) and E the sum of e along the axis:
    y = zero_point + floor((k e + floor(E / 2)) / E), where k = 1 / scale of the result. If k is not an integer,
    k e has a table of its own, round(2^15 k exp(s d)).
    """
    x, op = quantized(operands[0], "its input"), node.op
    assert isinstance(op, Softmax)
    axis = op.axis % node.types[0].rank
    size, k = node.types[0].shape[axis], 1 / wanted.scale
    if x.dtype != "int8" or wanted.dtype != "int8":
        raise Decline("it has an integer form for int8 only")
    if not isinstance(size, int) or size * ONE >= 1 << 30 or k > 1 << 14:
        raise Decline(f"along {size} elements, or by a scale of {wanted.scale:.3g}, it may overflow")
    exponentials = ONE * np.exp(np.arange(-255, 1, dtype=np.float64) * float(x.scale))
    wide, name = Cast(to="int32"), node.name or op.name
    below = Sub()(wide(x.value), wide(ReduceMax(axes=(axis,))(x.value)))
    # with 255 added, the difference fits uint8, the index of Lookup
    place = Cast(to="uint8")(Add()(below, number(255)))
    e = Lookup()(place, constant(np.rint(exponentials).astype("int32"), f"{name}.exp"))
    if abs(round(k) * wanted.scale - 1) <= 1e-6:
        scaled = Mul()(e, number(round(k)))
    else:
        scaled = Lookup()(place, constant(np.rint(k * exponentials).astype("int32"), f"{name}.scaled_exp"))
    total = ReduceSum(axes=(axis,))(e)
    half = Div()(total, number(2))
    y = Add()(Div()(Add()(scaled, half), total), number(wanted.zero_point))
    return Cast(to="int8")(Clip(low=wanted.low, high=wanted.high)(y), name=node.name, origins=node.origins)


def number(value: int) -> Value:
    return constant(np.asarray(value, "int32"))
