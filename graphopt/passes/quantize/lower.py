"""Integer lowering: an operator between dequantize and quantize becomes the integer operator."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from graphopt.ir import Constant, Graph, Input, Node, Value, bind_batch, constant, rebuild
from graphopt.ir.graph import Replace
from graphopt.ops import Clip, Concat, Dequantize, Quantize, Relu
from graphopt.ops.macs import macs_of
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.cleanup import CommonSubexpressions
from graphopt.passes.contract import Bounded
from graphopt.passes.quantize import rules as _rules
from graphopt.passes.quantize.form import INTEGER_RULES, Operand, Wanted, dequantized, rescaled, rule_of
from graphopt.passes.quantize.kept import with_kept_integers
from graphopt.passes.quantize.norms import with_folded_norms
from graphopt.passes.quantize.splits import without_splits
from graphopt.passes.quantize.unfuse import unfused
from graphopt.passes.quantize.unsigned_to_signed import with_signed_integers
from graphopt.rewrite import Decline

__all__ = ["LowerInteger", "_rules"]


class LowerInteger(Pass, name="lower-integer", contract=Bounded(20.0)):
    """Turn dequantize, operator, quantize into the operator on integers, with one requantize.

    A ReLU or clip between operator and quantize becomes the clamp of requantize. Unsigned integers become signed ones.
    Moves stay on integers, and batch norms after quantized weights go into the scales of these. An operator without an
    integer form, or whose rule declines, stays float between a dequantize and a quantize; a note gives the reason and
    the cost. Its dequantized constants become float constants.
    """

    tells_users = True

    def run(self, graph: Graph, context: Context) -> Graph:
        if not any(isinstance(node.op, Quantize | Dequantize) for node in graph.nodes):
            return graph
        graph = unfused(graph, context, self.name)
        for prepared in (without_splits, with_kept_integers, with_signed_integers, with_folded_norms):
            graph = prepared(graph)
        reasons: dict[Node, str] = {}
        lowered = rebuild(graph, lowering(graph, context.notes, reasons))
        names = lowered.names
        for node, cost in float_nodes(lowered):
            why = reasons.get(node) or INTEGER_RULES.reason(type(node.op)) or why_unquantized(node)
            context.notes.append(Note(self.name, names[node], f"stays float: {why}; it costs {cost}", declined=True))
        # several results of a node have their integer form in common
        return CommonSubexpressions().run(rebuild(lowered, float_constant), Context())


def lowering(graph: Graph, notes: list[Note], reasons: dict[Node, str]) -> Replace:
    """The transformation to integers of the values that quantize nodes read; ``reasons`` gets why a node declines."""
    uses = graph.uses

    def lower(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        wanted = wanted_of(inputs) if isinstance(node.op, Quantize) else None
        if wanted is None:
            return None
        depth, old = 0, node.inputs[0]
        while isinstance(old.op, Relu | Clip) and len(uses[old.node.inputs[0]]) == 1:
            depth, old = depth + 1, old.node.inputs[0]
        # with all clamps after an accumulator, else with fewer
        for clamps_taken in reversed(range(depth + 1)):
            value, clamps = inputs[0], list[Value]()
            for _ in range(clamps_taken):
                clamps.append(value)
                value = value.node.inputs[0]
            try:
                made = integer_form(value, clamps, wanted)
            except Decline as why:
                reasons[value.node] = str(why)
                continue
            if made is not None:
                notes.append(Note(LowerInteger.name, value.node.name, f"{value.op.name} on integers"))
                return (made,)
        return None

    return lower


def why_unquantized(node: Node) -> str:
    """Why there is no quantize after a node that has an integer form."""
    parts = [dequantized(v) for v in node.inputs]
    scales = {float(part.scale) for part in parts if part is not None and not part.scale.ndim}
    if isinstance(node.op, Concat) and len(scales) > 1:
        return "it joins parts that keep scales of their own"
    return "it is not between dequantize and quantize"


def float_nodes(graph: Graph) -> Iterator[tuple[Node, str]]:
    """The nodes that compute on floats, except on single numbers, with their costs."""
    bound = bind_batch(graph, 1)
    for node, small in zip(graph.nodes, bound.nodes, strict=True):
        reals = any(v.type.is_float for v in (*node.inputs, *node.results))
        if reals and not isinstance(node.op, Input | Constant | Quantize | Dequantize):
            macs = macs_of(small)
            elements = sum(math.prod(t.static_shape) for t in small.types)
            if macs or elements > 1:
                yield node, f"{macs:,} MACs" if macs else f"{elements:,} elements"


def float_constant(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """A dequantize of a constant, as a float constant."""
    arrays = [v.constant for v in inputs if v.constant is not None]
    if not isinstance(node.op, Dequantize) or len(arrays) < len(inputs):
        return None
    return (constant(node.op.evaluate(*arrays), like=inputs[0]),)


def integer_form(value: Value, clamps: Sequence[Value], wanted: Wanted) -> Value | None:
    """The integer form of one operator with the clamps after it; None if there is none for them."""
    same = dequantized(value)
    if same is not None:
        return None if clamps else rescaled(same, wanted, value.node)
    rule = rule_of(value.op)
    if rule is None or (clamps and not rule.activates):
        return None
    operands: tuple[Operand, ...] = tuple(dequantized(v) or v for v in value.node.inputs)
    return rule.lower(value.node, operands, replace(clamped(wanted, clamps), result=value.index))


def clamped(wanted: Wanted, clamps: Sequence[Value]) -> Wanted:
    """The wanted form with limits for the clamps, the last clamp first; they commute, since quantize is monotone."""
    low, high = wanted.low, wanted.high
    for clamp in clamps:
        ends = np.asarray(clamp.op.evaluate(np.array([-np.inf, np.inf])))
        least, most = (int(v) for v in wanted.quantize(ends))
        low, high = max(low, least), max(low, min(high, most))
    return replace(wanted, low=low, high=max(low, high))


def wanted_of(inputs: tuple[Value, ...]) -> Wanted | None:
    """The integers that a quantize gives, if its parameters are constant scalars and its dtype has integer forms."""
    scale, zero = inputs[1].constant, inputs[2].constant
    if scale is None or zero is None or scale.ndim or str(zero.dtype) not in ("int8", "uint8", "int16"):
        return None
    limits = np.iinfo(zero.dtype)
    return Wanted(float(scale), int(zero), str(zero.dtype), int(limits.min), int(limits.max))
