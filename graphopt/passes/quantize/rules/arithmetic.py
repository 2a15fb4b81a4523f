"""Elementwise sums, differences, products, extremes and selections."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Node, Value, constant
from graphopt.ops import Add, BatchNorm, Div, Maximum, Minimum, Mul, MulInteger, Sub, WeightedSum, Where, broadcast
from graphopt.passes.quantize.form import (
    Operand,
    Quantized,
    Wanted,
    centred,
    integer_rule,
    quantized,
    reals_of,
    requantized,
    rescaled,
)
from graphopt.rewrite import Decline

ROOM = {"int32": 30, "int64": 45}
"""The bits that weighted sums may fill, by accumulator."""


@integer_rule(Add, activates=True)
def add(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    return weighted_sum(node, operands, (1.0, 1.0), wanted)


@integer_rule(Sub, activates=True)
def sub(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    return weighted_sum(node, operands, (1.0, -1.0), wanted)


def weighted_sum(node: Node, operands: Sequence[Operand], signs: Sequence[float], wanted: Wanted) -> Value:
    """requantize(sum (x_i - z_i) * round(2^k s_i / s)) by 2^-k, with k as large as the accumulator allows.

    Zero points and constant operands add up to one constant.
    """
    terms = [(o, s) for o, s in zip(operands, signs, strict=True) if reals_of(o) is None]
    if not terms:
        raise Decline("both operands are constant")
    moving = [(quantized(o, "an operand"), s) for o, s in terms]
    wide = "int64" if any(x.dtype == "int16" for x, _ in moving) else "int32"
    fixed: Array = np.zeros(())
    for operand, sign in zip(operands, signs, strict=True):
        reals = reals_of(operand)
        fixed = fixed if reals is None else fixed + sign * reals / wanted.scale
    reach = sum(x.steps * float(x.scale) / wanted.scale for x, _ in moving)
    # beyond this the sum saturates whatever the other operand is: a mask may be infinite
    fixed = np.clip(fixed, -reach - wanted.levels, reach + wanted.levels)
    most = reach + float(np.abs(fixed).max())
    k = spare_bits(most, sum(x.steps for x, _ in moving), wide)
    factors = [round(sign * math.ldexp(float(x.scale) / wanted.scale, k)) for x, sign in moving]
    zeros = sum(f * x.zero_point for f, (x, _) in zip(factors, moving, strict=True))
    fixed = np.rint(fixed * 2.0**k) - zeros
    offset = int(fixed) if fixed.ndim == 0 else 0
    acc = WeightedSum(factors=tuple(factors), offset=offset)(*(x.value for x, _ in moving))
    if fixed.ndim:
        acc = Add()(acc, constant(fixed.astype(wide), f"{node.name or node.op.name}.offset"))
    if acc.type.shape != node.types[0].shape:
        raise Decline(f"it broadcasts {acc.type} to {node.types[0]}")
    return requantized(acc, np.asarray(2.0**-k), wanted, node)


def spare_bits(most: float, steps: int, dtype: str) -> int:
    """The bits by which sums of magnitude ``most`` can be scaled up in an accumulator.

    There must be enough bits that the rounding of factors to integers moves a sum of ``steps`` steps by at most half
    a step; else it declines.
    """
    k = min(ROOM[dtype] - math.ceil(math.log2(most)), 28)
    if k < 1 or 1 << k < steps:
        raise Decline("its operands are too large for its result")
    return k


@integer_rule(Mul, activates=True)
def mul(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """requantize((x - z_x) (y - z_y)) by s_x s_y / s; a constant operand goes into the ratio."""
    a, b = operands
    if reals_of(a) is not None:
        a, b = b, a
    factor = reals_of(b)
    if factor is not None:
        return times(node, quantized(a, "its operand"), factor, wanted)
    x, y = quantized(a, "an operand"), quantized(b, "an operand")
    acc = MulInteger(a_zero_point=x.zero_point, b_zero_point=y.zero_point)(x.value, y.value)
    return requantized(acc, x.scale * y.scale / wanted.scale, wanted, node)


@integer_rule(Div, activates=True)
def div(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    divisor = reals_of(operands[1])
    if divisor is None or not np.all(divisor):
        raise Decline("its divisor is not a constant other than zero")
    return times(node, quantized(operands[0], "its operand"), 1 / divisor, wanted)


def times(node: Node, x: Quantized, factor: Array, wanted: Wanted) -> Value:
    if broadcast(x.value.type.shape, factor.shape) != x.value.type.shape:
        raise Decline(f"it broadcasts {x.value.type} to {node.types[0]}")
    return requantized(centred(x), x.scale * factor / wanted.scale, wanted, node)


@integer_rule(BatchNorm, activates=True)
def batch_norm(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """A norm that did not fold: requantize((x - z) * round(2^k factor s_x / s) + round(2^k term / s)) by 2^-k."""
    x = quantized(operands[0], "its input")
    scale, bias, mean, var = (reals_of(o) for o in operands[1:])
    if scale is None or bias is None or mean is None or var is None:
        raise Decline("its parameters are not constant")
    factor = scale / np.sqrt(var + node.op.epsilon)  # type: ignore[attr-defined]
    shape = (-1, *[1] * (node.types[0].rank - 2))
    terms = ((bias - mean * factor) / wanted.scale).reshape(shape)
    factors = (factor * float(x.scale) / wanted.scale).reshape(shape)
    wide = "int64" if x.dtype == "int16" else "int32"
    k = spare_bits(float((x.steps * np.abs(factors) + np.abs(terms)).max()), x.steps, wide)
    weights, offset = (constant(np.rint(np.ldexp(v, k)).astype(wide)) for v in (factors, terms))
    return requantized(Add()(Mul()(centred(x), weights), offset), np.asarray(2.0**-k), wanted, node)


@integer_rule(Maximum, Minimum)
def extreme(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """The extreme of operands that are rescaled to the result's scale."""
    return node.op(*(rescaled(o, wanted, node) for o in operands), name=node.name, origins=node.origins)


@integer_rule(Where)
def where(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    condition, *choices = operands
    if isinstance(condition, Quantized):
        raise Decline("its condition is quantized")
    return node.op(condition, *(rescaled(o, wanted, node) for o in choices), name=node.name, origins=node.origins)
