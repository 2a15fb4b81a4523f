"""Arithmetic with constants, folded into layers and into each other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphopt.ir import Value
from graphopt.ops import Add, Div, Mul, Sub
from graphopt.passes.base import RewritePass
from graphopt.passes.contract import Exact
from graphopt.passes.fold.channels import (
    ChannelAffine,
    Layer,
    arithmetic,
    by_channel,
    channel_axis,
    elements,
    fold_after,
    fold_before,
    folded,
)
from graphopt.rewrite import Const, Decline, Rule, rule

Arithmetic = Add | Sub | Mul | Div


@rule(lambda op, layer, x, w, b, c: op(layer(x, w, b), c))
def into_producer(op: Arithmetic, layer: Layer, x: Value, w: Const, b: Const, c: Const) -> Value:
    y = layer(x, w, b).type
    return fold_after(layer, x, w, b, arithmetic(op, by_channel(c, y, channel_axis(layer, y.rank))))


@rule(lambda op, layer, x, w, b, c: op(c, layer(x, w, b)))
def subtracted_from_constant(op: Sub, layer: Layer, x: Value, w: Const, b: Const, c: Const) -> Value:
    y = layer(x, w, b).type
    shift = by_channel(c, y, channel_axis(layer, y.rank))
    return fold_after(layer, x, w, b, ChannelAffine(-np.ones_like(shift), shift))


@rule(lambda layer, op, x, w, b, c: layer(op(x, c), w, b))
def into_consumer(layer: Layer, op: Arithmetic, x: Value, w: Const, b: Const, c: Const) -> Value:
    operand = by_channel(c, x.type, channel_axis(layer, x.type.rank))
    return fold_before(layer, x, w, b, arithmetic(op, operand))


@rule(lambda outer, inner, x, c, d: outer(inner(x, c), d))
def shifted_twice(outer: Add | Sub, inner: Add | Sub, x: Value, c: Const, d: Const) -> Value:
    refuse_growth(c, d)
    total = (-1 if isinstance(inner, Sub) else 1) * elements(c) + (-1 if isinstance(outer, Sub) else 1) * elements(d)
    return Add()(x, folded(total, c))


@rule(lambda outer, inner, x, c, d: outer(inner(x, c), d))
def scaled_twice(outer: Mul | Div, inner: Mul | Div, x: Value, c: Const, d: Const) -> Value:
    refuse_growth(c, d)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (1 / elements(v) if isinstance(op, Div) else elements(v) for op, v in ((inner, c), (outer, d)))
        factor = first * second
    return Mul()(x, folded(factor, c))


def refuse_growth(c: Value, d: Value) -> None:
    if not c.type.is_float:
        raise Decline(f"{c.type.dtype} arithmetic wraps and truncates")
    left, right = c.type.static_shape, d.type.static_shape
    if np.prod(np.broadcast_shapes(left, right)) > max(np.prod(left), np.prod(right)):
        raise Decline("the merged constant would be larger than either")


class FoldAffine(RewritePass, name="fold-affine", contract=Exact()):
    """Fold additions of, and multiplications by, constants into the conv, conv_transpose or linear next to them.

    It folds add, sub, mul and div by a constant that varies only along the channels, after a layer or
    before it, and ``constant - layer``. Two of add and sub in a row become one, as do two of mul and
    div. New constants are computed in float64 and keep the names of the old.

    Declines: a layer (or an inner operation) with other readers; constants that vary along other axes
    or broadcast the result to a larger shape; a shift before padding or before a conv_transpose
    larger than 1x1; division by zero; integers; results that would not be finite.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        into_producer,
        subtracted_from_constant,
        into_consumer,
        shifted_twice,
        scaled_twice,
    )
