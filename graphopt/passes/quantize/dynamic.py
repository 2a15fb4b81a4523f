"""Dynamic quantization: integer weights, and activations whose scale is computed at run time. It needs no data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Graph, Node, QParams, Value, constant, rebuild
from graphopt.ops import (
    Abs,
    Add,
    Cast,
    Clip,
    Conv,
    ConvInteger,
    Div,
    IntegerProduct,
    Linear,
    LinearInteger,
    MatMul,
    MatMulInteger,
    Maximum,
    Mul,
    Recurrent,
    ReduceMax,
    Round,
    compacted,
    overflowing,
)
from graphopt.passes.base import Context, Note
from graphopt.passes.quantize.form import rule_of
from graphopt.passes.quantize.insert import quantize_weight, weight_parameters
from graphopt.passes.quantize.scheme import Scheme
from graphopt.rewrite import Decline
from graphopt.rewrite.driver import stamp

STEPS = 127
SMALLEST = 1e-30
"""The lower bound of the magnitude of an input, so that zeros have a scale too, and no scale is subnormal."""

BIAS_STEPS = float(1 << 30)


def quantize_dynamically(graph: Graph, scheme: Scheme, context: Context, name: str) -> Graph:
    """The graph with its convolutions and matrix products on integers, also those of the inputs of recurrent layers.

    Everything else stays float.

    In float32 and in this order: m = max(max|x|, 1e-30) over a row (linear, matmul) or a sample (conv), s = m / 127,
    q = clip(round(x / s), -127, 127), c = s * s_w, y = float(acc + int(clip(round(b / c), -2^30, 2^30))) * c.
    No sum follows a product, so a core with fused multiply-add and a soft-float core give the same result.
    """
    graph = rebuild(graph, with_projections)
    names = graph.names

    def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if type(node.op) not in FORMS or scheme.is_float(names[node]) or node.types[0].dtype != "float32":
            return None
        try:
            made = FORMS[type(node.op)](node, inputs, scheme, names[node])
        except Decline as why:
            context.notes.append(Note(name, names[node], f"stays float: {why}", declined=True))
            return None
        context.notes.append(Note(name, names[node], f"{node.op.name} on integers, its scale computed at run time"))
        return (made,)

    return rebuild(graph, replaced)


def with_projections(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """Split recurrent layers into the products of their inputs, as linear layers, and the steps, which stay float."""
    if not isinstance(node.op, Recurrent) or node.types[0].dtype != "float32":
        return None
    parts = node.op.decompose(*inputs)
    return stamp(parts, node, node.results, {v.node for v in inputs}) if parts is not None else None


def scaled(x: Value, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """x as int8, and its scale: one number for each slice over ``axes``, which stay with size one."""
    largest = Maximum()(ReduceMax(axes=axes)(Abs()(x)), number(SMALLEST))
    scale = Div()(largest, number(STEPS))
    steps = Clip(low=-STEPS, high=STEPS)(Round()(Div()(x, scale)))
    return Cast(to="int8")(steps), scale


def number(value: float) -> Value:
    return constant(np.asarray(value, "float32"))


def product(
    node: Node, inputs: tuple[Value, ...], scheme: Scheme, name: str, op: type[IntegerProduct], channel_axis: int
) -> Value:
    x, w, b = inputs
    rule, rank = rule_of(node.op), node.types[0].rank
    if w.constant is None or b.constant is None or rule is None:
        raise Decline("its weights or its bias are not constant")
    if not all(isinstance(d, int) and d for d in x.type.shape[1:]):
        raise Decline("its input has no elements")
    weight = weight_parameters(node, rule, 1, scheme, name, None)
    integers = quantize_weight(w.constant, weight, scheme.is_grouped(name) and weight.bits == 8)
    if overflowing(integers, np.full(len(b.constant), BIAS_STEPS), "int8") is not None:
        raise Decline("its accumulator may overflow")
    axes = (rank - 1,) if op is LinearInteger else tuple(range(1, x.type.rank))
    q, scale = scaled(x, axes)
    stored = compacted(integers, like=w)
    zeros = constant(np.zeros(len(b.constant), "int32"), f"{name}.zeros")
    integer = op.of(node.op)
    acc = integer(q, stored, zeros, name=f"{name}.acc", origins=node.origins)
    column = (-1, *[1] * (rank - channel_axis - 1))
    unit = Mul()(scale, constant(channel_scale(weight, column), f"{w.node.name}.scale"))
    bias = Clip(low=-BIAS_STEPS, high=BIAS_STEPS)(Round()(Div()(constant(b.constant.reshape(column), like=b), unit)))
    total = Cast(to="float32")(Add()(acc, Cast(to="int32")(bias)))
    return Mul()(total, unit, name=node.name, origins=node.origins)


def channel_scale(weight: QParams, column: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(weight.scale.reshape(column) if weight.scale.ndim else weight.scale, np.float32)


def linear(node: Node, inputs: tuple[Value, ...], scheme: Scheme, name: str) -> Value:
    return product(node, inputs, scheme, name, LinearInteger, node.types[0].rank - 1)


def conv(node: Node, inputs: tuple[Value, ...], scheme: Scheme, name: str) -> Value:
    return product(node, inputs, scheme, name, ConvInteger, 1)


def matmul(node: Node, inputs: tuple[Value, ...], scheme: Scheme, name: str) -> Value:
    """The product with one scale for each row of the first operand, and for each column of the second."""
    a, b = inputs
    depth = a.type.shape[-1]
    if not isinstance(depth, int) or not depth or depth * STEPS * STEPS >= 1 << 31:
        raise Decline(f"sums of {depth} products may overflow")
    rank = b.type.rank
    left, left_scale = scaled(a, (a.type.rank - 1,))
    right, right_scale = scaled(b, (rank - 2,))
    acc = MatMulInteger()(left, right, name=f"{name}.acc", origins=node.origins)
    unit = Mul()(left_scale, right_scale)
    return Mul()(Cast(to="float32")(acc), unit, name=node.name, origins=node.origins)


FORMS = {Linear: linear, Conv: conv, MatMul: matmul}
