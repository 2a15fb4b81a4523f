"""Bounds of every element of every value, by interval arithmetic. They are equal if an element is constant.

Bounds are for a batch of one, in float64. Monotone operators are applied to the bounds, layers to centre and radius
(Rump, "Fast and Parallel Interval Arithmetic", BIT 1999). Padding and borders are exact, element by element, since the
operators' own reference evaluation computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, Graph, Node, Op, Value, bind_batch
from graphopt.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Celu,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Elu,
    Exp,
    Expand,
    Gelu,
    HardSigmoid,
    HardSwish,
    Identity,
    LeakyRelu,
    Linear,
    Maximum,
    MaxPool,
    Minimum,
    Mish,
    Mul,
    Neg,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    Relu,
    Reshape,
    Resize,
    Selu,
    Sigmoid,
    Silu,
    Slice,
    Softplus,
    Softsign,
    Split,
    Sub,
    Tanh,
    Tile,
    Transpose,
)
from graphopt.ops.quantized import Quantization


@dataclass(frozen=True)
class Interval:
    """Lower and upper bounds, one of each per element."""

    low: Array
    high: Array

    @property
    def centre(self) -> Array:
        return np.asarray((self.low + self.high) / 2)

    @property
    def radius(self) -> Array:
        return np.asarray((self.high - self.low) / 2)


Rule = Callable[[Op, Sequence[Interval]], Sequence[Interval] | None]
INTERVAL_RULES: dict[type[Op], Rule] = {}

MONOTONE = (
    *(Relu, LeakyRelu, Clip, Sigmoid, Tanh, HardSigmoid, Exp, Softplus, Softsign, Elu, Selu, Celu, Identity),
    *(Add, Maximum, Minimum, Concat, MaxPool, AveragePool, ReduceMean, ReduceSum, ReduceMax, ReduceMin),
    *(Reshape, Transpose, Slice, Split, Pad, Expand, Tile, Resize),
)
"""Monotone operators: no result falls when an operand rises."""

LIPSCHITZ: dict[type[Op], float] = {Silu: 1.1, HardSwish: 1.5, Gelu: 1.2, Mish: 1.1}
"""Operators that are not monotone, with a bound of their slope."""


def evaluated(op: Op, inputs: Sequence[Array]) -> list[Array]:
    results = op.evaluate(*inputs)
    return list(results) if isinstance(results, tuple) else [results]


def monotone(op: Op, x: Sequence[Interval]) -> list[Interval] | None:
    if isinstance(op, LeakyRelu | Elu | Celu | Selu) and op.alpha < 0:
        return None
    lows, highs = (evaluated(op, side) for side in ([i.low for i in x], [i.high for i in x]))
    return [Interval(a, b) for a, b in zip(lows, highs, strict=True)]


def smooth(op: Op, x: Sequence[Interval]) -> list[Interval]:
    """Bounds of a function between two points, from its values there and the bound of its slope."""
    (a,), (b,) = evaluated(op, [x[0].low]), evaluated(op, [x[0].high])
    reach = LIPSCHITZ[type(op)] * x[0].radius
    return [Interval((a + b) / 2 - reach, (a + b) / 2 + reach)]


def layer(op: Op, x: Sequence[Interval]) -> list[Interval] | None:
    """Bounds of layers with constant weights."""
    if any(i.radius.any() for i in x[1:]):
        return None
    weights = [i.low for i in x[1:]]
    (centre,) = evaluated(op, [x[0].centre, *weights])
    (radius,) = evaluated(op, [x[0].radius, np.abs(weights[0]), np.zeros_like(weights[1])])
    return [Interval(centre - radius, centre + radius)]


def extremes(candidates: Sequence[Array]) -> list[Interval]:
    stack = np.stack(candidates)
    return [Interval(stack.min(0), stack.max(0))]


INTERVAL_RULES.update(dict.fromkeys(MONOTONE, monotone))
INTERVAL_RULES.update(dict.fromkeys(LIPSCHITZ, smooth))
INTERVAL_RULES.update(dict.fromkeys((Conv, ConvTranspose, Linear), layer))
INTERVAL_RULES[Neg] = lambda op, x: [Interval(-x[0].high, -x[0].low)]
INTERVAL_RULES[Sub] = lambda op, x: [Interval(x[0].low - x[1].high, x[0].high - x[1].low)]
INTERVAL_RULES[Mul] = lambda op, x: extremes([a * b for a in (x[0].low, x[0].high) for b in (x[1].low, x[1].high)])
INTERVAL_RULES[BatchNorm] = lambda op, x: (
    None
    if any(i.radius.any() for i in x[1:])
    else extremes([evaluated(op, [side, *(i.low for i in x[1:])])[0] for side in (x[0].low, x[0].high)])
)


def intervals(graph: Graph, limit: float) -> dict[Value, Interval]:
    """The bounds of all values; unknown ones are assumed to be -limit and limit."""
    bound = bind_batch(graph, 1)
    found: dict[Value, Interval] = {}
    named: dict[Value, Interval] = {}
    for original, node in zip(graph.nodes, bound.nodes, strict=True):
        results = node_intervals(node, [found[v] for v in node.inputs], limit)
        found.update(zip(node.results, results, strict=True))
        named.update(zip(original.results, results, strict=True))
    return named


def node_intervals(node: Node, inputs: Sequence[Interval], limit: float) -> list[Interval]:
    data = node.results[0].constant
    if data is not None:
        return [Interval(data.astype(np.float64), data.astype(np.float64))]
    rule = INTERVAL_RULES.get(type(node.op)) if all(t.is_float for t in node.types) else None
    with np.errstate(all="ignore"):
        if isinstance(node.op, Quantization):
            results = quantization(node, inputs[0])
        else:
            results = rule(node.op, inputs) if rule else None
    if results is None:
        shapes = [t.static_shape for t in node.types]
        return [Interval(np.full(s, -limit), np.full(s, limit)) for s in shapes]
    return [limited(i, limit) for i in results]


def quantization(node: Node, x: Interval) -> Sequence[Interval] | None:
    """Quantize and dequantize by constant parameters rise with their operand; integers are float64 here."""
    scale, zero = (v.constant for v in node.inputs[1:])
    if scale is None or zero is None:
        return None
    low, high = (evaluated(node.op, [side, scale, zero])[0].astype(np.float64) for side in (x.low, x.high))
    return [Interval(low, high)]


def limited(x: Interval, limit: float) -> Interval:
    """The bounds; -limit and limit where the bounds are farther apart than these, or not numbers."""
    wide = ~(x.high - x.low <= 2 * limit)
    return Interval(np.where(wide, -limit, x.low), np.where(wide, limit, x.high)) if wide.any() else x
