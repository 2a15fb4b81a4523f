"""Turn unsigned integers into signed ones, so that the rules of integer lowering get int8 and int16 only.

2^(bits - 1) is subtracted from x and from its zero_point, so the number stays the same: this is exact, also for
saturation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant
from graphopt.ops import Add, Cast, Concat, Dequantize, Pad, Quantize
from graphopt.passes.quantize.form import rule_of

SIGNED = {"uint8": "int8", "uint16": "int16"}


def with_signed_integers(graph: Graph) -> Graph:
    """The graph with quantize and dequantize of int8 and int16 in place of those of uint8 and uint16.

    Operators between them that move integers become signed too. Other readers get unsigned integers computed from the
    signed ones, and an unsigned input of the graph is converted once. Constant weights of products then have zero
    points of 0, in int16 if int8 does not hold them; see ``centred_weight``.
    """
    weights = weights_of(graph)
    new: dict[Value, Value] = {}
    signed: dict[Value, Value] = {}
    """The signed form of the integers of a value, by value of the old graph."""

    def twin(old: Value) -> Value:
        if old not in signed:
            signed[old] = moved(new[old], SIGNED[old.type.dtype])
        return signed[old]

    def integers(node: Node) -> Value | None:
        """The signed form of a node's result; None if it cannot be made."""
        x = node.inputs[0]
        if isinstance(node.op, Quantize) and node.inputs[2].constant is not None:
            return named(node, node.op, new[x], new[node.inputs[1]], twin(node.inputs[2]))
        if x not in signed or not moves(node):
            return None
        if isinstance(node.op, Concat):
            return named(node, node.op, *map(twin, node.inputs))
        op = node.op
        if isinstance(op, Pad):
            op = replace(op, value=op.value - offset(node.types[0].dtype))
        return named(node, op, twin(x), *(new[v] for v in node.inputs[1:]))

    for node in graph.nodes:
        if len(node.results) == 1 and node.types[0].dtype in SIGNED and node.inputs:
            made = integers(node)
            if made is not None:
                signed[node.results[0]] = made
                new[node.results[0]] = moved(made, node.types[0].dtype)
                continue
        results = node.with_inputs([new[v] for v in node.inputs]).results
        if isinstance(node.op, Dequantize):
            q, scale, zero = node.inputs
            if node.results[0] in weights and q.constant is not None and zero.constant is not None:
                results = (centred_weight(node, q.constant, new[scale], zero.constant),)
            elif q.type.dtype in SIGNED and zero.constant is not None:
                results = (named(node, node.op, twin(q), new[scale], twin(zero)),)
        new.update(zip(node.results, results, strict=True))
    return replace(graph, inputs=tuple(new[v] for v in graph.inputs), outputs=tuple(new[v] for v in graph.outputs))


def named(node: Node, op: object, *inputs: Value) -> Value:
    return op(*inputs, name=node.name, origins=node.origins)  # type: ignore[operator,no-any-return]


def weights_of(graph: Graph) -> set[Value]:
    """The values that products read as weights."""
    return {
        node.inputs[position]
        for node in graph.nodes
        if (rule := rule_of(node.op)) is not None
        for position, _ in rule.weights
    }


def moves(node: Node) -> bool:
    """Whether an operator gives the same for signed integers as for unsigned ones, minus the offset."""
    rule = rule_of(node.op)
    return isinstance(node.op, Concat) or (rule is not None and rule.move)


def offset(dtype: str) -> int:
    """The difference between unsigned integers of a dtype and their signed form."""
    return 1 << 8 * np.dtype(dtype).itemsize - 1


def moved(x: Value, dtype: str) -> Value:
    """Integers converted to the signed or unsigned form of their width."""
    step = offset(dtype) if dtype in SIGNED else -offset(dtype)
    if x.constant is not None:
        return constant((x.constant.astype(np.int32) + step).astype(dtype), like=x)
    return Cast(to=dtype)(Add()(Cast(to="int32")(x), constant(np.asarray(step, "int32"))))


def centred_weight(node: Node, weight: Array, scale: Value, zero: Array) -> Value:
    """A dequantize of weights minus their zero points; every channel may have its own zero_point."""
    assert isinstance(node.op, Dequantize)
    centred = weight.astype(np.int32) - zero.astype(np.int32).reshape(node.op.column(weight.ndim, zero.shape))
    narrow = "int8" if np.abs(centred).max(initial=0) <= np.iinfo("int8").max else "int16"
    if weight.dtype == np.int32 or (narrow == str(weight.dtype) and not zero.any()):
        return named(node, node.op, node.inputs[0], scale, node.inputs[2])
    integers = constant(centred.astype(narrow), like=node.inputs[0])
    return named(node, node.op, integers, scale, constant(np.zeros(zero.shape, narrow), like=node.inputs[2]))
