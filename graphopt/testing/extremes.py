"""Parameters of integer graphs at the ends of what they may be, where data seldom brings them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from graphopt.ir import Array, Constant, Graph, Node, Op, Value, constant, rebuild
from graphopt.ops import IntegerProduct, IntegerSequence, Requantize

Change = Callable[[Node, Sequence[Value], np.random.Generator], tuple[Op, Sequence[Value]]]
"""Of a node with its operands: what to compute in its place."""


def requantized(node: Node, inputs: Sequence[Value], rng: np.random.Generator) -> tuple[Op, Sequence[Value]]:
    """Other factors for some channels, zero points and bounds at the ends or nearer to each other."""
    op, (acc, multiplier, shift) = node.op, inputs
    assert isinstance(op, Requantize)
    limits = np.iinfo(op.to)
    zero = int(rng.choice([limits.min, limits.max, 0, op.zero_point]))
    low, high = sorted(int(x) for x in rng.integers(limits.min, limits.max + 1, 2))
    low, high = (low, high) if rng.random() < 0.4 else (op.low, op.high)
    scales = other_scales(multiplier, shift, 1 if acc.type.dtype == "int32" else 17, rng)
    return replace(op, zero_point=zero, low=low, high=high), (acc, *scales)


def other_scales(multiplier: Value, shift: Value, least: int, rng: np.random.Generator) -> tuple[Value, Value]:
    """Multipliers and shifts of which some are any, and some at the ends."""
    if multiplier.constant is None or shift.constant is None:
        return multiplier, shift
    m, t = multiplier.constant.astype(np.int64), shift.constant.astype(np.int64)
    m = mixed(m, rng.choice([1 << 30, (1 << 31) - 1, (1 << 30) + 1], m.shape), rng)
    t = mixed(t, rng.choice([least, 31, 32, 33, 34, 55, 56, 62], t.shape), rng)
    t = mixed(t, np.clip(t + rng.integers(-3, 4, t.shape), least, 62), rng)
    return constant(m.astype(np.int32)), constant(np.maximum(t, least).astype(np.int32))


def mixed(data: Array, other: Array, rng: np.random.Generator) -> Array:
    """The data, with a fifth of the other in its place."""
    return np.where(rng.random(data.shape) < 0.2, other, data)


def product(node: Node, inputs: Sequence[Value], rng: np.random.Generator) -> tuple[Op, Sequence[Value]]:
    """The zero point at an end, channels of weights at one end or of zeros, great biases."""
    op, (x, weight, bias) = node.op, inputs
    assert isinstance(op, IntegerProduct)
    limits = np.iinfo(x.type.dtype)
    w, b = weight.constant, bias.constant
    if w is not None and isinstance(weight.op, Constant) and not weight.op.compact and rng.random() < 0.5:
        column = (len(w), *(1,) * (w.ndim - 1))
        ends = np.broadcast_to(rng.choice([-128, -127, 127, 0], column), w.shape)
        weight = constant(np.where(rng.random(column) < 0.2, ends, w).astype(np.int8))
    if b is not None and rng.random() < 0.3:
        bias = constant(mixed(b, rng.choice([-(1 << 30), 1 << 30, (1 << 24) + 1], b.shape), rng).astype(b.dtype))
    return replace(op, zero_point=int(rng.choice([limits.min, limits.max, 0, op.zero_point]))), (x, weight, bias)


def sequence(node: Node, inputs: Sequence[Value], rng: np.random.Generator) -> tuple[Op, Sequence[Value]]:
    """Other factors of the products of the states."""
    gates, r, multiplier, shift, *others = inputs
    return node.op, (gates, r, *other_scales(multiplier, shift, 1, rng), *others)


CHANGES: dict[type[Op], Change] = {Requantize: requantized, IntegerProduct: product, IntegerSequence: sequence}


def with_extremes(graph: Graph, rng: np.random.Generator) -> Graph:
    """Some of its zero points, multipliers, shifts, bounds, weights and biases at the ends of what they may be."""

    def changed(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        change = next((change for kind, change in CHANGES.items() if isinstance(node.op, kind)), None)
        if change is None or rng.random() < 0.5:
            return None
        op, operands = change(node, inputs, rng)
        return op.apply(*operands, name=node.name, origins=node.origins).results

    return rebuild(graph, changed)
