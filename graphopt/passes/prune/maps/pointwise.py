"""Elementwise operators with broadcasting; poolings; reductions and other operators that compute along an axis."""

from __future__ import annotations

from graphopt.ir import Constant, Input, Node
from graphopt.ops import (
    ArgReduction,
    Binary,
    BitwiseNot,
    Cast,
    Comparison,
    Cumulative,
    Decompress,
    Fused,
    IntegerSequence,
    IsInf,
    IsNan,
    Logical,
    Pool,
    ReduceSum,
    Reduction,
    Resize,
    TopKIndices,
    Unary,
    Where,
)
from graphopt.ops.binary import Binarize, ConvXnor, PackSigns
from graphopt.ops.integer import IntegerProduct, MatMulInteger, SumPool
from graphopt.ops.integer_elementwise import IntegerSqrt, MulInteger, WeightedSum
from graphopt.ops.quantized import Quantization
from graphopt.ops.requantize import ChannelLookup, FlipSign, Lookup, Requantize
from graphopt.passes.prune.maps.layers import WINDOW
from graphopt.passes.prune.maps.table import MAPS, channel_map
from graphopt.passes.prune.relations import Relations


@channel_map(Input, Constant)
def sources(node: Node, relations: Relations) -> None:
    """Inputs and constants add no relations of their own; their readers do."""


def join_all(node: Node, relations: Relations, but: tuple[int, ...] = ()) -> None:
    """Join every axis of the first operand with the same axis of each result."""
    for axis in range(node.inputs[0].type.rank):
        if axis not in but:
            for y in node.results:
                relations.join(node.inputs[0], axis, y, axis)


@channel_map(Unary, Binary, Comparison, Logical, BitwiseNot, Cast, IsInf, IsNan, Where)
def elementwise(node: Node, relations: Relations) -> None:
    """Join axes counted from the last; an axis of one that broadcasts loses nothing."""
    (y,) = node.results
    for x in node.inputs:
        for axis in range(1, x.type.rank + 1):
            relations.join(x, -axis, y, -axis)


@channel_map(Quantization)
def quantization(node: Node, relations: Relations) -> None:
    x, *parameters = node.inputs
    assert isinstance(node.op, Quantization)
    join_all(node, relations)
    for p in parameters:
        if p.type.rank == 1:
            relations.join(x, node.op.axis, p, 0)
        for axis in range(1, p.type.rank + 1) if p.type.rank > 1 else ():
            relations.join(x, -axis, p, -axis)


@channel_map(Pool, Resize)
def pooling(node: Node, relations: Relations) -> None:
    join_all(node, relations, but=tuple(range(2, node.inputs[0].type.rank)))
    for value in (*node.inputs, *node.results):
        relations.keep_value(value, WINDOW, but=(0, 1))


@channel_map(Reduction)
def reduction(node: Node, relations: Relations) -> None:
    """Only a sum can lose terms: each removed one counts as a zero."""
    (x,), (y,) = node.inputs, node.results
    op = node.op
    assert isinstance(op, Reduction)
    left = [a for a in range(x.type.rank) if a not in op.axes]
    for position, axis in enumerate(left):
        relations.join(x, axis, y, axis if op.keepdims else position)
    for axis in op.axes:
        if isinstance(op, ReduceSum):
            relations.contract(node, 0, axis)
        else:
            relations.keep_axis(x, axis, f"{op.name} counts all of it")


@channel_map(ArgReduction)
def arg_reduction(node: Node, relations: Relations) -> None:
    (x,), (y,) = node.inputs, node.results
    op = node.op
    assert isinstance(op, ArgReduction)
    left = [a for a in range(x.type.rank) if a != op.axis]
    for position, axis in enumerate(left):
        relations.join(x, axis, y, axis if op.keepdims else position)
    relations.keep_axis(x, op.axis, f"{op.name} gives positions along it")


@channel_map(Cumulative, TopKIndices)
def along_an_axis(node: Node, relations: Relations) -> None:
    assert isinstance(node.op, Cumulative | TopKIndices)
    axis = node.op.axis % node.inputs[0].type.rank
    join_all(node, relations, but=(axis,))
    for value in (*node.inputs, *node.results):
        relations.keep_axis(value, axis, f"{node.op.name} runs along it")


MAPS.unsupported("it is fused already: prune first", Fused)
MAPS.unsupported("it is compressed already: prune first", Decompress)
MAPS.unsupported(
    "it is quantized already: prune first",
    *(IntegerProduct, MatMulInteger, IntegerSequence, SumPool),
    *(MulInteger, WeightedSum, IntegerSqrt, Requantize, Lookup, ChannelLookup, FlipSign),
    *(Binarize, PackSigns, ConvXnor),
)
