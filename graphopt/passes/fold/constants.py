"""Evaluate at compile time the nodes that depend only on constants."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Batch, Constant, Input, Node, Op, TensorType, Value, constant
from graphopt.ops import Decompress, Dequantize
from graphopt.passes.base import RewritePass
from graphopt.passes.contract import Exact
from graphopt.rewrite import Decline, Rule, node_rule

MAX_GROWTH = 16
"""The results of a folded node may have up to this many times the elements of its operands."""

MAX_ELEMENTS = 1 << 26
"""The results of a folded node may have up to this many elements in all."""


@node_rule(Op)
def evaluate_constant(node: Node, inputs: tuple[Value, ...]) -> list[Value] | None:
    if isinstance(node.op, Input | Constant):
        return None
    arrays = [v.constant for v in inputs if v.constant is not None]
    if len(arrays) != len(inputs) or not inputs:
        return None
    if isinstance(node.op, Decompress):
        raise Decline("it is kept compressed")
    if isinstance(node.op, Dequantize):
        raise Decline("lower-integer makes integer products of quantized constants, and floats of those it leaves")
    refuse_growth(node.types, arrays)
    with np.errstate(all="ignore"):
        evaluated = node.op.evaluate(*arrays)
    results = evaluated if isinstance(evaluated, tuple) else (evaluated,)
    if all(map(finite, arrays)) and not all(map(finite, results)):
        raise Decline("it is not finite, though its operands are")
    return [constant(data) for data in results]


def refuse_growth(types: tuple[TensorType, ...], operands: list[Array]) -> None:
    if any(isinstance(d, Batch) for t in types for d in t.shape):
        raise Decline("its shape depends on the batch")
    size = sum(math.prod(t.static_shape) for t in types)
    if size > MAX_ELEMENTS or size > MAX_GROWTH * sum(a.size for a in operands):
        raise Decline(f"its result would have {size} elements")


def finite(data: Array) -> bool:
    return data.dtype.kind != "f" or bool(np.isfinite(data).all())


class FoldConstants(RewritePass, name="fold-constants", contract=Exact()):
    """Replace every node whose operands are all constant by its value, computed by the reference semantics.

    Declines: results of more than 16 times the elements of the operands, or of more than 2**26, since an
    expanded scalar is better computed where it is used; shapes that depend on the batch; results that are
    not finite although the operands are, since a fold would hide this; dequantized constants, since they
    are the weights of integer products.
    """

    rules: ClassVar[tuple[Rule, ...]] = (evaluate_constant,)
