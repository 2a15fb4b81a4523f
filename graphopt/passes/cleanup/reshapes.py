"""Remove reshapes, transposes and expands that undo each other or are not needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from graphopt.ir import Graph, Node, Value, constant
from graphopt.ops import Binary, Expand, Reduction, Reshape, Transpose, Unary
from graphopt.passes.base import RewritePass
from graphopt.passes.contract import Exact
from graphopt.rewrite import Decline, Rule, node_rule, rule
from graphopt.rewrite.pattern import Report
from graphopt.rewrite.rule import Candidate


def composed(inner: Transpose, outer: Transpose) -> Transpose:
    """The transpose that is ``inner`` and then ``outer``."""
    return Transpose(perm=tuple(inner.perm[p] for p in outer.perm))


def transposed(x: Value, op: Transpose) -> Value:
    return x if op.perm == tuple(range(x.type.rank)) else op(x)


@rule(lambda outer, inner, x: outer(inner(x)))
def reshape_of_reshape(outer: Reshape, inner: Reshape, x: Value) -> Value:
    return x if x.type.shape == outer.shape else outer(x)


@rule(lambda outer, inner, x: outer(inner(x)))
def transpose_of_transpose(outer: Transpose, inner: Transpose, x: Value) -> Value:
    return transposed(x, composed(inner, outer))


@node_rule(Transpose)
def transpose_of_ones(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """A transpose that moves only axes of size one is a reshape."""
    assert isinstance(node.op, Transpose)
    moving = [a for a in node.op.perm if inputs[0].type.shape[a] != 1]
    return Reshape(shape=node.types[0].shape)(inputs[0]) if moving == sorted(moving) else None


@rule(lambda op, left, a, right, b: op(left(a), right(b)))
def same_transposes(op: Binary, left: Transpose, a: Value, right: Transpose, b: Value) -> Value:
    """Two operands with the same transpose: transpose the result once instead."""
    if left.perm != right.perm:
        raise Decline("its operands are transposed differently")
    return left(op(a, b))


@rule(lambda outer, inner, x: outer(inner(x)))
def expand_of_expand(outer: Expand, inner: Expand, x: Value) -> Value:
    return outer(x)


@rule(lambda op, expand, x, y: op(expand(x), y))
def expanded_left(op: Binary, expand: Expand, x: Value, y: Value) -> Value:
    return without_expand(op, expand, x, (x, y), (expand(x), y))


@rule(lambda op, expand, x, y: op(y, expand(x)))
def expanded_right(op: Binary, expand: Expand, x: Value, y: Value) -> Value:
    return without_expand(op, expand, x, (y, x), (y, expand(x)))


def without_expand(op: Binary, expand: Expand, x: Value, bare: tuple[Value, ...], expanded: tuple[Value, ...]) -> Value:
    result = op(*bare)
    if result.type != op(*expanded).type:
        raise Decline(f"the expand from {x.type} to {expand.shape} gives the result its shape")
    return result


@rule(lambda reshape, reduction, x: reshape(reduction(x)))
def reduced_shape(reshape: Reshape, reduction: Reduction, x: Value) -> Value | None:
    """A reshape that only drops or restores the axes of a reduction is its ``keepdims``."""
    other = replace(reduction, keepdims=not reduction.keepdims)
    return other(x) if other(x).type.shape == reshape.shape else None


@dataclass(frozen=True)
class Chain:
    """The elementwise operators between two moves of elements, in order.

    ``steps`` are the nodes, each with the index of the operand that it takes from the one before.
    """

    first: Value
    steps: tuple[tuple[Node, int], ...]


def chain_above(node: Node, graph: Graph, step: Callable[[Node], int | None]) -> Chain | None:
    """The chain from an operator of ``node``'s class to ``node``'s operand, if every value in it is read once."""
    value, steps = node.inputs[0], list[tuple[Node, int]]()
    while graph.use_count(value) == 1:
        if isinstance(value.op, type(node.op)):
            return Chain(value, tuple(reversed(steps))) if steps else None
        operand = step(value.node)
        if operand is None:
            return None
        steps.append((value.node, operand))
        value = value.node.inputs[operand]
    return None


def rebuilt(chain: Chain, value: Value, move_constant: Callable[[Value], Value]) -> Value:
    for node, operand in chain.steps:
        inputs = [value if i == operand else move_constant(v) for i, v in enumerate(node.inputs)]
        value = node.op(*inputs, name=node.name, origins=node.origins)
    return value


def movable_operand(node: Node) -> int | None:
    """The index of the operand through which a transpose may move: the only one, or the one beside a constant."""
    if isinstance(node.op, Unary):
        return 0
    if isinstance(node.op, Binary):
        for operand, other in ((0, 1), (1, 0)):
            if node.inputs[other].constant is not None and node.inputs[operand].type == node.types[0]:
                return operand
    return None


def reshapable_operand(node: Node) -> int | None:
    """The same for a reshape: the constant must have one element."""
    operand = movable_operand(node)
    if operand is None or len(node.inputs) == 1:
        return operand
    other = node.inputs[1 - operand].type
    return operand if set(other.shape) <= {1} else None


def scalar(c: Value) -> Value:
    return constant(c.constant.reshape(()), like=c) if c.constant is not None and c.type.rank else c


def transposes_around(node: Node, graph: Graph, report: Report) -> Iterator[Candidate]:
    chain = chain_above(node, graph, movable_operand)
    if chain is not None:
        assert isinstance(node.op, Transpose) and isinstance(chain.first.op, Transpose)
        yield Candidate(matched(node, chain), partial(without_transposes, node.op, chain.first.op, chain))


def without_transposes(outer: Transpose, inner: Transpose, chain: Chain, new: Mapping[Value, Value]) -> Value:
    x = new[chain.first.node.inputs[0]]
    return rebuilt(chain, transposed(x, composed(inner, outer)), partial(retransposed, inner, outer))


def retransposed(inner: Transpose, outer: Transpose, c: Value) -> Value:
    """A constant between two transposes, transposed for its place after both."""
    if c.constant is None or c.constant.size == 1:
        return c
    aligned = c.constant.reshape((1,) * (len(outer.perm) - c.constant.ndim) + c.constant.shape)
    return constant(aligned.transpose(outer.perm), like=c)


def reshapes_around(node: Node, graph: Graph, report: Report) -> Iterator[Candidate]:
    chain = chain_above(node, graph, reshapable_operand)
    if chain is not None:
        yield Candidate(matched(node, chain), partial(without_reshapes, node, chain))


def without_reshapes(node: Node, chain: Chain, new: Mapping[Value, Value]) -> Value:
    x = new[chain.first.node.inputs[0]]
    return rebuilt(chain, x if x.type == node.types[0] else node.op(x), scalar)


def matched(node: Node, chain: Chain) -> tuple[Value, ...]:
    return (node.results[0], *(step.results[0] for step, _ in reversed(chain.steps)), chain.first)


class SimplifyReshapes(RewritePass, name="simplify-reshapes", contract=Exact()):
    """Reduce the number of operators that only move elements.

    Reshapes in a row become one reshape, transposes in a row one transpose or none, expands in a row
    one expand. A transpose that moves only axes of size one becomes a reshape. A reshape after a
    reduction that drops or restores its axes becomes ``keepdims``. An expand before a binary operator
    that broadcasts anyway is removed. Two operands with the same transpose are transposed once after
    the operator. Two transposes (reshapes) with only elementwise operators between them become one
    before these operators, or none; constant operands are transposed (reshaped) too.

    Declines: inner values with other readers; operands transposed differently; constants that
    broadcast the other operand; between reshapes, constants of more than one element.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        reshape_of_reshape,
        transpose_of_transpose,
        transpose_of_ones,
        same_transposes,
        expand_of_expand,
        expanded_left,
        expanded_right,
        reduced_shape,
        Rule("transposes_around", (Transpose,), transposes_around),
        Rule("reshapes_around", (Reshape,), reshapes_around),
    )
