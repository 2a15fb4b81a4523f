"""Reshapes around a transpose as one operator, which reads and writes values in any layout.

A reshape keeps both of its sides in row-major order, and so takes from the convolutions around a pixel shuffle, say,
the layout in which they are fast. Where reshapes only split axes before a transpose, and merge axes behind it, they are
one copy with it, from strides to other strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Graph, Node, Op, TensorType, Trait, Value, rebuild
from graphopt.ops import Reshape, Transpose


class Rearrange(Op):
    """x with its axes split to the shape ``split``, permuted, and merged to ``shape``.

    It stands in graphs that are lowered for LLVM, and has therefore no name of its own in the text form.
    """

    name: ClassVar[str] = "rearrange"
    traits = Trait.MOVE

    split: tuple[int, ...]
    perm: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def permuted(self) -> tuple[int, ...]:
        """The shape before axes are merged."""
        return tuple(self.split[axis] for axis in self.perm)

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0].with_shape(self.shape)

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0].reshape(self.split).transpose(self.perm).reshape(self.shape), order="C")


def join_moves(graph: Graph) -> Graph:
    """The graph with one operator for each transpose whose operand has only split axes, or whose axes are merged."""

    def join(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        turn, source = node, inputs[:1]
        if isinstance(node.op, Reshape):
            turn, source = node.inputs[0].node, inputs[0].node.inputs[:1]
        if not isinstance(turn.op, Transpose) or merged_behind(graph, turn) is (turn is node):
            return None
        (before,) = turn.inputs
        if splits(graph, before) and isinstance(source[0].op, Reshape):  # which is none if it joined a transpose itself
            source = source[0].node.inputs
        elif turn is node:
            return None
        op = Rearrange(split=before.type.static_shape, perm=turn.op.perm, shape=node.types[0].static_shape)
        return (op(*source, name=node.name, origins=node.origins),)

    return rebuild(graph, join)


def splits(graph: Graph, value: Value) -> bool:
    """Whether a value is what a reshape made by splitting axes, and has no other use."""
    if not isinstance(value.op, Reshape) or graph.use_count(value) > 1:
        return False
    (source,) = value.node.inputs
    return source.constant is None and refines(source.type.static_shape, value.type.static_shape)


def merged_behind(graph: Graph, turn: Node) -> bool:
    """Whether all that reads a transpose is one reshape that merges axes."""
    (value,) = turn.results
    readers = graph.uses[value]
    if graph.use_count(value) != 1 or not readers or not isinstance(readers[0].op, Reshape):
        return False
    return refines(readers[0].types[0].static_shape, value.type.static_shape)


def refines(coarse: Sequence[int], fine: Sequence[int]) -> bool:
    """Whether each axis of a shape is the product of successive axes of another one."""
    parts = iter(size for size in fine if size > 1)
    for size in coarse:
        while size > 1:
            part = next(parts, 0)
            if not part or size % part:
                return False
            size //= part
    return True
