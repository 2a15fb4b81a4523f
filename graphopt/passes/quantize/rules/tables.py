"""Functions of one 8-bit operand, by a table of all its 256 values, computed in float64."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphopt.ir import Node, Value, constant
from graphopt.ops import Clip, Lookup, Pow, PRelu, Relu, Unary
from graphopt.passes.quantize.form import (
    Operand,
    Quantized,
    Wanted,
    centred,
    integer_rule,
    quantized,
    reals_of,
    requantized,
)
from graphopt.rewrite import Decline


@integer_rule(Unary)
def unary(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    x = quantized(operands[0], "its operand")
    if x.dtype == "int16":
        return clamped_wide(node, x, wanted)
    return Lookup()(x.value, table(node, x, wanted, ()), name=node.name, origins=node.origins)


@integer_rule(Pow, PRelu)
def with_scalar(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """A function of one operand; the other operand is a constant number."""
    x, other = quantized(operands[0], "its operand"), reals_of(operands[1])
    if other is None or other.size != 1 or x.dtype == "int16":
        raise Decline("it is not a function of one 8-bit operand")
    return Lookup()(x.value, table(node, x, wanted, (other.ravel()[0],)), name=node.name, origins=node.origins)


def table(node: Node, x: Quantized, wanted: Wanted, others: tuple[float, ...]) -> Value:
    """The result for each integer, in float64. Declines functions that are not finite on the range of the input."""
    limits = np.iinfo(x.dtype)
    reals = (np.arange(limits.min, limits.max + 1, dtype=np.float64) - x.zero_point) * float(x.scale)
    with np.errstate(all="ignore"):
        y = np.asarray(node.op.evaluate(reals, *map(np.asarray, others)))
    if not np.isfinite(y).all():
        raise Decline("it is not finite on the whole range of its input")
    return constant(wanted.quantize(y), f"{node.name or node.op.name}.table")


def clamped_wide(node: Node, x: Quantized, wanted: Wanted) -> Value:
    """A ReLU or clip of int16, as the clamp of a requantize."""
    if not isinstance(node.op, Relu | Clip):
        raise Decline("a table of 65,536 elements would be needed")
    ends = node.op.evaluate(np.array([-np.inf, np.inf]))
    low, high = (int(v) for v in wanted.quantize(np.asarray(ends)))
    clamp = dataclasses.replace(wanted, low=low, high=high)
    return requantized(centred(x), x.scale / wanted.scale, clamp, node)
