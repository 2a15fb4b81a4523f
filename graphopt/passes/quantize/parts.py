"""Parts of a value: some elements along an axis, computed from the operands of the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from graphopt.ir import Array, Graph, Node, Op, Value, constant
from graphopt.ir.registry import Table
from graphopt.ops import Binary, Concat, Conv, ConvTranspose, Gather, Linear, Reshape, Slice, Transpose, Unary
from graphopt.rewrite import Decline


@dataclass(frozen=True, eq=False)
class Selection:
    """Elements of an axis at increasing positions, [k]."""

    axis: int
    places: Array

    def of(self, array: Array) -> Array:
        return np.take(array, self.places, axis=self.axis)


def selection_of(node: Node) -> Selection | None:
    """The selection that a slice, or a gather at constant increasing positions, makes; None for any other node."""
    op = node.op
    if isinstance(op, Slice):
        return Selection(op.axis, np.arange(op.start, op.stop, op.step))
    if isinstance(op, Gather) and node.inputs[1].constant is not None:
        indices, size = node.inputs[1].constant, node.inputs[0].type.shape[op.axis]
        if indices.ndim < 2 and isinstance(size, int):
            places = np.where(indices < 0, indices + size, indices).ravel()
            return Selection(op.axis, places) if np.all(np.diff(places) > 0) and len(places) else None
    return None


@dataclass(frozen=True, eq=False)
class PartBuilder:
    """Builds parts of the values of a graph, on the ``new`` values that replace its old ones.

    Moves and joins are built again for each part. An operator that computes is divided only if nothing but the parts
    reads its value, so that nothing is computed twice. ``renamed`` has the names of divided layers by those of parts.
    """

    graph: Graph
    new: Mapping[Value, Value]
    renamed: dict[str, str] = field(default_factory=dict)

    def part(self, value: Value, taken: Selection, alone: bool) -> Value:
        """The part of a value; ``alone`` says that only its parts are read. Raises ``Decline`` if there is none."""
        rule = DIVISIONS.find(type(value.op))
        if rule is None or not (alone or isinstance(value.op, MOVES)):
            raise Decline(f"{value.op.name} is not divided")
        return rule(self, value.node, taken, alone)

    def operand(self, value: Value, taken: Selection, alone: bool) -> Value:
        """The part of an operand of a divided node."""
        if value.constant is not None:
            return constant(taken.of(value.constant), like=value)
        return self.part(value, taken, alone and self.graph.use_count(value) == 1)

    def made(self, node: Node, op: Op, taken: Selection, *inputs: Value) -> Value:
        """A part of the result of a node, named after the node and the selected positions."""
        old = self.graph.names[node]
        name = f"{old}.{taken.places[0]}_{taken.places[-1]}"
        self.renamed[name] = old
        return op(*inputs, name=name, origins=node.origins)


Division = Callable[[PartBuilder, Node, Selection, bool], Value]
"""Builds the selected part of a node's result; raises ``Decline`` if it cannot be computed alone."""


def divide_concat(parts: PartBuilder, node: Node, taken: Selection, alone: bool) -> Value:
    """Along the axis of the join, the selected elements of each operand; along another axis, a join of parts."""
    op = node.op
    assert isinstance(op, Concat)
    if op.axis != taken.axis:
        return parts.made(node, op, taken, *(parts.operand(v, taken, alone) for v in node.inputs))
    pieces, start = [], 0
    for value in node.inputs:
        size = value.type.shape[taken.axis]
        if not isinstance(size, int):
            raise Decline("it joins batches")
        inside = taken.places[(taken.places >= start) & (taken.places < start + size)] - start
        if len(inside) == size:
            pieces.append(parts.new[value])
        elif len(inside):
            pieces.append(gathered(parts.new[value], Selection(taken.axis, inside)))
        start += size
    return pieces[0] if len(pieces) == 1 else parts.made(node, op, taken, *pieces)


def gathered(value: Value, taken: Selection) -> Value:
    """A slice if the positions are evenly spaced, else a gather."""
    first, last, steps = taken.places[0], taken.places[-1], np.unique(np.diff(taken.places))
    if len(steps) < 2:
        step = int(steps[0]) if len(steps) else 1
        return Slice(axis=taken.axis, start=int(first), stop=int(last) + 1, step=step)(value)
    return Gather(axis=taken.axis)(value, constant(taken.places.astype(np.int64)))


def divide_transpose(parts: PartBuilder, node: Node, taken: Selection, alone: bool) -> Value:
    assert isinstance(node.op, Transpose)
    moved = replace(taken, axis=node.op.perm[taken.axis])
    return parts.made(node, node.op, taken, parts.operand(node.inputs[0], moved, alone))


def divide_reshape(parts: PartBuilder, node: Node, taken: Selection, alone: bool) -> Value:
    """A reshape of the part of its operand, if the selection is one along a single axis of the operand."""
    x, shape = node.inputs[0], node.types[0].shape
    within = before_reshape(x.type.shape, shape, taken)
    op = Reshape(shape=tuple(len(taken.places) if a == taken.axis else d for a, d in enumerate(shape)))
    return parts.made(node, op, taken, parts.operand(x, within, alone))


def before_reshape(source: tuple[object, ...], shape: tuple[object, ...], taken: Selection) -> Selection:
    """The selection before a reshape from ``source`` to ``shape`` that equals one after it. Raises ``Decline``.

    Only the first dimension may be symbolic. Then every sample of the batch is cut in the same way; one is looked at.
    """
    if not all(isinstance(d, int) for d in (*source[1:], *shape[1:])) or taken.axis == 0:
        raise Decline("it reshapes the batch")
    tails = [[d for d in dims[1:] if isinstance(d, int)] for dims in (source, shape)]
    before, after = (np.cumprod([1, *tail[::-1]])[::-1] for tail in tails)
    period = int(np.lcm(before[0], after[0]))
    flat = np.arange(period)
    wanted = np.isin(flat // after[taken.axis] % tails[1][taken.axis - 1], taken.places)
    for axis, size in enumerate(tails[0], start=1):
        place = flat // before[axis] % size
        chosen = np.unique(place[wanted])
        if np.array_equal(np.isin(place, chosen), wanted):
            return Selection(axis, chosen)
    raise Decline("what is taken is in no one axis of its operand")


def divide_elementwise(parts: PartBuilder, node: Node, taken: Selection, alone: bool) -> Value:
    """Operands that are broadcast along the axis stay whole."""
    rank, operands = node.types[0].rank, []
    for value in node.inputs:
        axis = taken.axis - rank + value.type.rank
        whole = axis < 0 or value.type.shape[axis] == 1
        if whole:
            operands.append(parts.new[value])
        else:
            operands.append(parts.operand(value, replace(taken, axis=axis), alone))
    return parts.made(node, node.op, taken, *operands)


def divide_layer(parts: PartBuilder, node: Node, taken: Selection, alone: bool) -> Value:
    """A convolution or a linear layer of some of its output channels."""
    x, weight, bias = node.inputs
    channels = node.types[0].rank - 1 if isinstance(node.op, Linear) else 1
    if taken.axis != channels or getattr(node.op, "group", 1) > 1 or weight.constant is None or bias.constant is None:
        raise Decline("it is not cut by channels of constant weights")
    rows = Selection(1 if isinstance(node.op, ConvTranspose) else 0, taken.places)
    cut = (constant(rows.of(weight.constant), like=weight), constant(bias.constant[taken.places], like=bias))
    return parts.made(node, node.op, taken, parts.new[x], *cut)


MOVES = (Concat, Transpose, Reshape)
DIVISIONS: Table[type[Op], Division] = Table("a division")
"""The functions that build a part of a result, by operator or family of operators."""
DIVISIONS.enter(divide_concat, Concat)
DIVISIONS.enter(divide_transpose, Transpose)
DIVISIONS.enter(divide_reshape, Reshape)
DIVISIONS.enter(divide_elementwise, Unary, Binary)
DIVISIONS.enter(divide_layer, Conv, ConvTranspose, Linear)
