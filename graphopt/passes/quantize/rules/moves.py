"""Operators that do not change integers."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphopt.ir import Node, Value
from graphopt.ops import (
    Concat,
    Expand,
    Gather,
    Identity,
    MaxPool,
    Pad,
    ReduceMax,
    ReduceMin,
    Reshape,
    Resize,
    Slice,
    Tile,
    Transpose,
)
from graphopt.passes.quantize.form import Operand, Quantized, Wanted, integer_rule, rescaled
from graphopt.rewrite import Decline


@integer_rule(
    Expand, Gather, Identity, MaxPool, ReduceMax, ReduceMin, Reshape, Resize, Slice, Tile, Transpose, move=True
)
def move(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """Operators that pick elements; a constant table (an embedding) is quantized like the result."""
    return node.op(rescaled(operands[0], wanted, node), *plain(operands[1:]), name=node.name, origins=node.origins)


def plain(operands: tuple[Operand, ...]) -> list[Value]:
    """Operands without a scale, such as indices."""
    if any(isinstance(o, Quantized) for o in operands):
        raise Decline("its indices are quantized")
    return [o for o in operands if isinstance(o, Value)]


@integer_rule(Pad, move=True)
def pad(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """A pad with the integer that stands for its value."""
    value = int(wanted.quantize(np.asarray(node.op.value)))  # type: ignore[attr-defined]
    op = dataclasses.replace(node.op, value=float(value))  # type: ignore[call-arg]
    return op(rescaled(operands[0], wanted, node), name=node.name, origins=node.origins)


@integer_rule(Concat)
def concat(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """The join of operands that are rescaled to the result's scale."""
    return node.op(*(rescaled(o, wanted, node) for o in operands), name=node.name, origins=node.origins)
