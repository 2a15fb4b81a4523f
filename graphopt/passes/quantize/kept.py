"""Keep integers through operators that only move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Graph, Node, Value, rebuild
from graphopt.ops import Concat, Dequantize, Pad, Quantize
from graphopt.passes.quantize.form import Quantized, Wanted, dequantized, rule_of


def with_kept_integers(graph: Graph) -> Graph:
    """The graph with a quantize and a dequantize, with the same parameters, after moves of dequantized integers.

    QONNX and others quantize data once and then pool, reshape and join it. The numbers do not change: each was
    dequantized, and the same parameters give its integer back.
    """
    uses, outputs = graph.uses, set(graph.outputs)

    def keep(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if len(node.results) != 1 or not inputs or not moves(node):
            return None
        result = node.results[0]
        if result not in outputs and all(isinstance(user.op, Quantize) for user in uses[result]):
            return None
        operands = [dequantized(v) for v in (inputs if isinstance(node.op, Concat) else inputs[:1])]
        first = operands[0]
        if first is None or any(o is None or not alike(first, o) for o in operands) or not pads_exactly(node, first):
            return None
        _, scale, zero = inputs[0].node.inputs
        name = node.name or node.op.name
        moved = node.with_inputs(inputs).results[0]
        q = Quantize()(moved, scale, zero, name=f"{name}.quantize", origins=node.origins)
        return (Dequantize()(q, scale, zero, name=f"{name}.dequantize", origins=node.origins),)

    return rebuild(graph, keep)


def moves(node: Node) -> bool:
    rule = rule_of(node.op)
    return isinstance(node.op, Concat) or (rule is not None and rule.move)


def alike(a: Quantized, b: Quantized) -> bool:
    """Whether both are data, not constants, with one scale and zero_point each, and these are equal."""
    same = (a.scale.ndim, a.zero_point, a.dtype) == (0, b.zero_point, b.dtype)
    return same and b.array is None and np.array_equal(a.scale, b.scale) and a.dtype != "int32"


def pads_exactly(node: Node, x: Quantized) -> bool:
    """Whether an integer of x stands for the value of a pad; true for other moves."""
    if not isinstance(node.op, Pad):
        return True
    limits = np.iinfo(x.dtype)
    wanted = Wanted(float(x.scale), x.zero_point, x.dtype, int(limits.min), int(limits.max))
    value = np.asarray(node.op.value, np.float32)
    steps = wanted.quantize(value).astype(np.float32) - np.float32(x.zero_point)
    return bool(steps * np.float32(x.scale) == value)
