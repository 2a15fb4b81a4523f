"""PartBuilder of a value: what gives some elements along an axis only, built from what the value is built from."""

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
    """Elements of an axis at rising places, [k]."""

    axis: int
    places: Array

    def of(self, array: Array) -> Array:
        return np.take(array, self.places, axis=self.axis)


def selection_of(node: Node) -> Selection | None:
    """What a slice or a gather at constant places takes of its first operand; None of what takes nothing such."""
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
    """Builds parts of the values of a graph, on top of the ``new`` values that stand for its old ones.

    Moves and joins are built again for each part; what computes only where the value has no reader but its parts, so
    that nothing is computed twice. ``renamed`` gathers the names of the layers that were divided, by those of parts.
    """

    graph: Graph
    new: Mapping[Value, Value]
    renamed: dict[str, str] = field(default_factory=dict)

    def part(self, value: Value, taken: Selection, alone: bool) -> Value:
        """The part of a value; ``alone`` says that nothing but its parts is read. Raises ``Decline``."""
        rule = DIVISIONS.find(type(value.op))
        if rule is None or not (alone or isinstance(value.op, MOVES)):
            raise Decline(f"{value.op.name} is not divided")
        return rule(self, value.node, taken, alone)

    def operand(self, value: Value, taken: Selection, alone: bool) -> Value:
        """The part of an operand of what is divided."""
        if value.constant is not None:
            return constant(taken.of(value.constant), like=value)
        return self.part(value, taken, alone and self.graph.use_count(value) == 1)

    def made(self, node: Node, op: Op, taken: Selection, *inputs: Value) -> Value:
        """What stands for a part of the result of a node, named after it and the places that are taken."""
        old = self.graph.names[node]
        name = f"{old}.{taken.places[0]}_{taken.places[-1]}"
        self.renamed[name] = old
        return op(*inputs, name=name, origins=node.origins)


Division = Callable[[PartBuilder, Node, Selection, bool], Value]
"""From a node and what is taken of its result to that part; raises ``Decline`` where it cannot be had alone."""


def divide_concat(parts: PartBuilder, node: Node, taken: Selection, alone: bool) -> Value:
    """Along its axis, what each operand has of it; along another, a join of parts."""
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
    """A slice where the places are evenly spaced, else a gather."""
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
    """Where what is taken is some elements of one axis of the operand, whatever the others are."""
    x, shape = node.inputs[0], node.types[0].shape
    within = before_reshape(x.type.shape, shape, taken)
    op = Reshape(shape=tuple(len(taken.places) if a == taken.axis else d for a, d in enumerate(shape)))
    return parts.made(node, op, taken, parts.operand(x, within, alone))


def before_reshape(source: tuple[object, ...], shape: tuple[object, ...], taken: Selection) -> Selection:
    """The selection that a reshape from ``source`` to ``shape`` makes of one behind it. Raises ``Decline``.

    Only the first dimension may be symbolic: then every sample of the batch is cut alike, and one of them tells how.
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
"""From an operator, or a family of them, to how a part of its result is had."""
DIVISIONS.enter(divide_concat, Concat)
DIVISIONS.enter(divide_transpose, Transpose)
DIVISIONS.enter(divide_reshape, Reshape)
DIVISIONS.enter(divide_elementwise, Unary, Binary)
DIVISIONS.enter(divide_layer, Conv, ConvTranspose, Linear)
