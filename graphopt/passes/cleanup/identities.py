"""Remove operators that return their operand, and activations that another one implies."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphopt.ir import Node, Value
from graphopt.ops import (
    Abs,
    Add,
    Clip,
    Concat,
    Div,
    Exp,
    Expand,
    HardSigmoid,
    Identity,
    Mul,
    Neg,
    Pad,
    Pool,
    Pow,
    Reduction,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Split,
    Sqrt,
    Sub,
    Transpose,
)
from graphopt.passes.base import RewritePass
from graphopt.passes.contract import Exact
from graphopt.rewrite import Decline, Rule, node_rule, rule

Fixed = Relu | Clip
NON_NEGATIVE = (Relu, Abs, Exp, Sqrt, Sigmoid, HardSigmoid, Softmax)


@node_rule(Identity, Reshape, Slice, Pad, Expand, Concat, Split)
def same_type(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """An application of these operators to one operand changes no element if it does not change the type."""
    return inputs[0] if len(inputs) == 1 and node.types == (inputs[0].type,) else None


@node_rule(Transpose)
def still_transpose(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """A transpose moves nothing if it keeps the type and the order of the axes of size other than one."""
    assert isinstance(node.op, Transpose)
    (x,) = inputs
    moving = [a for a in node.op.perm if x.type.shape[a] != 1]
    return x if x.type == node.types[0] and moving == sorted(moving) else None


@node_rule(Pool, Reduction, Resize)
def single_element(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Poolings and reductions of one element each, and a resize that copies every element to its own place."""
    (x,) = inputs
    if x.type != node.types[0]:
        return None
    match node.op:
        case Pool():
            alone = set(node.op.kernel) == {1}
        case Reduction():
            alone = all(x.type.shape[a] == 1 for a in node.op.axes)
        case Resize():
            sizes = x.type.with_shape(x.type.shape[2:]).static_shape
            alone = all(node.op.source(axis, size) == list(range(size)) for axis, size in enumerate(sizes))
        case _:
            alone = False
    return x if alone else None


@node_rule(Add, Sub, Mul, Div, Pow)
def neutral_operand(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """x + 0, 0 + x, x - 0, x * 1, 1 * x, x / 1 and x ** 1, if the constant does not broadcast x to a larger shape."""
    neutral = 0 if isinstance(node.op, Add | Sub) else 1
    pairs = [inputs, inputs[::-1]] if node.op.commutative else [inputs]
    for x, c in pairs:
        if x.type == node.types[0] and c.constant is not None and np.all(c.constant == neutral):
            return x
    return None


@rule(lambda op, x: op(x))
def no_clip(op: Clip, x: Value) -> Value | None:
    """A clip without bounds."""
    return x if (op.low, op.high) == (float("-inf"), float("inf")) else None


@rule(lambda outer, inner, x: outer(inner(x)))
def clip_of_clip(outer: Fixed, inner: Fixed, x: Value) -> Value:
    """A relu or clip of a relu or clip is one clip: the outer bounds are applied to the inner ones.

    Declines if a lower bound is above its upper bound.
    """
    (low, high), (floor, ceiling) = bounds(inner), bounds(outer)
    if low > high or floor > ceiling:
        raise Decline("its lower bound is above its upper one")
    low, high = (min(max(b, floor), ceiling) for b in (low, high))
    return Relu()(x) if (low, high) == (0.0, float("inf")) else Clip(low=low, high=high)(x)


def bounds(op: Fixed) -> tuple[float, float]:
    return (0.0, float("inf")) if isinstance(op, Relu) else (op.low, op.high)


@node_rule(Relu, Abs)
def of_non_negative(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """relu(y) and abs(y) of a y that cannot be negative; y may have other readers."""
    return inputs[0] if isinstance(inputs[0].op, NON_NEGATIVE) else None


@rule(lambda outer, inner, x: outer(inner(x)))
def negated_twice(outer: Neg, inner: Neg, x: Value) -> Value:
    """-(-x) is x."""
    return x


@rule(lambda outer, inner, x: outer(inner(x)))
def abs_of_negated(outer: Abs, inner: Neg, x: Value) -> Value:
    """abs(-x) is abs(x)."""
    return Abs()(x)


class RemoveIdentities(RewritePass, name="remove-identities", contract=Exact()):
    """Remove operators whose result is their operand, and merge clips.

    These are: identity; reshape, slice, pad, expand, concat of one, split into one, transpose, and
    resize if they keep every element in its place; poolings and reductions of single elements;
    x + 0, x - 0, x * 1, x / 1, x ** 1 with constants that do not broadcast x; unbounded clips; relu
    and abs of values that cannot be negative. Relu and clip in a row become one clip.

    Results are equal as numbers: x + 0 loses the sign of a negative zero.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        same_type,
        still_transpose,
        single_element,
        neutral_operand,
        no_clip,
        of_non_negative,
        clip_of_clip,
        negated_twice,
        abs_of_negated,
    )
