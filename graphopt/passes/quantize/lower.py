"""Integer lowering: what stands between dequantize and quantize becomes the integer operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Graph, Node, Value, rebuild
from graphopt.ops import Clip, Dequantize, Quantize, Relu
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Bounded
from graphopt.passes.quantize import rules as _rules
from graphopt.passes.quantize.form import Operand, Quantized, Wanted, rule_of
from graphopt.rewrite import Decline

__all__ = ["LowerInteger", "_rules"]


class LowerInteger(Pass, name="lower-integer", contract=Bounded(20.0)):
    """Turn dequantize, operator, quantize into the operator on integers, with one requantisation.

    A ReLU or clip between operator and quantize becomes its clamp. What has no integer form, or declines one, stays
    float between a dequantize and a quantize; a note says why.
    """

    def run(self, graph: Graph, context: Context) -> Graph:
        old_uses = graph.uses

        def lower(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if not isinstance(node.op, Quantize):
                return None
            source, chain = inputs[0], [node.inputs[0]]
            while isinstance(chain[-1].op, Relu | Clip) and len(old_uses[chain[-1].node.inputs[0]]) == 1:
                chain.append(chain[-1].node.inputs[0])
            wanted = wanted_of(inputs)
            if wanted is None:
                return None
            reasons: list[str] = []
            # with as many clamps as there are behind an accumulator, else with fewer
            for depth in reversed(range(len(chain))):
                value, clamps = source, list[Value]()
                for _ in range(depth):
                    clamps.append(value)
                    value = value.node.inputs[0]
                made = attempt(value, clamps, wanted, reasons)
                if made is not None:
                    context.notes.append(Note(self.name, value.node.name, f"{value.op.name} on integers"))
                    return (made,)
            if reasons:
                name = graph.names[chain[-1].node]
                context.notes.append(Note(self.name, name, f"stays float: {reasons[-1]}", declined=True))
            return None

        return rebuild(graph, lower)


def attempt(value: Value, clamps: Sequence[Value], wanted: Wanted, reasons: list[str]) -> Value | None:
    """The integer form of one operator with clamps behind it; None, and a reason, where there is none."""
    same = dequantized(value)
    if same is not None and not clamps and wanted.holds(same):
        return same.value
    rule = rule_of(value.op)
    if rule is None:
        if same is None and value.node.inputs:
            reasons.append(f"{value.op.name} has no integer form")
        return None
    if clamps and not rule.activates:
        return None
    operands: tuple[Operand, ...] = tuple(dequantized(v) or v for v in value.node.inputs)
    try:
        return rule.lower(value.node, operands, clamped(wanted, clamps))
    except Decline as why:
        reasons.append(str(why))
        return None


def clamped(wanted: Wanted, clamps: Sequence[Value]) -> Wanted:
    """Limits for the clamps, of which the last is applied first; quantisation is monotone, so they commute."""
    low, high = wanted.low, wanted.high
    for clamp in clamps:
        ends = np.asarray(clamp.op.evaluate(np.array([-np.inf, np.inf])))
        least, most = (int(v) for v in wanted.quantize(ends))
        low, high = max(low, least), max(low, min(high, most))
    return Wanted(wanted.scale, wanted.zero_point, wanted.dtype, low, max(low, high))


def dequantized(value: Value) -> Quantized | None:
    """What a dequantize dequantizes, its scale and zero point being constant."""
    if not isinstance(value.op, Dequantize):
        return None
    q, scale, zero = value.node.inputs
    if scale.constant is None or zero.constant is None or np.ptp(zero.constant.astype(np.int64)):
        return None
    axis = value.op.axis if scale.type.rank == 1 else None
    return Quantized(q, scale.constant.astype(np.float64), int(zero.constant.flat[0]), axis)


def wanted_of(inputs: tuple[Value, ...]) -> Wanted | None:
    """The integers that a quantize gives, if its parameters are constant scalars of a type with integer forms."""
    scale, zero = inputs[1].constant, inputs[2].constant
    if scale is None or zero is None or scale.ndim or str(zero.dtype) not in ("int8", "uint8", "int16"):
        return None
    limits = np.iinfo(zero.dtype)
    return Wanted(float(scale), int(zero), str(zero.dtype), int(limits.min), int(limits.max))
