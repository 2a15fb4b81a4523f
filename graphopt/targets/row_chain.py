"""Operators on integers along rows, among them reductions of whole rows, as one operator; and proofs of their bounds.

In graphs an integer layer norm or softmax is a dozen operators, of which some hold 64 bits. As one operator, the
elements of a row stay near, and hold as many bits as they are proved to need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Constant, Graph, Input, Node, Op, TensorType, Trait, Value, evaluate
from graphopt.ops import (
    Add,
    Cast,
    Clip,
    Div,
    IntegerSqrt,
    Lookup,
    Maximum,
    Minimum,
    Mul,
    ReduceMax,
    ReduceMin,
    ReduceSum,
    Sub,
    WeightedSum,
)
from graphopt.rewrite import Decline
from graphopt.targets.region import elements_of

Interval = tuple[int, int]
"""The least and the greatest number that a value may hold."""
MOST_ROOT = 1 << 52
"""Of which ``IntegerSqrt`` takes less."""


class RowChain(Op):
    """The result of ``body``, whose values have the shape of the result, or one element in the place of its ``axes``.

    Those with one element are reductions over these axes, and what is computed of them. It stands in graphs that are
    lowered for LLVM, and has therefore no name of its own in the text form.
    """

    name: ClassVar[str] = "row_chain"
    traits = Trait.REDUCTION

    axes: tuple[int, ...]
    body: Graph

    def infer(self, *inputs: TensorType) -> TensorType:
        return self.body.outputs[0].type

    def evaluate(self, *inputs: Array) -> Array:
        return evaluate(self.body, inputs)[0]


def added(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def multiplied(a: Interval, b: Interval) -> Interval:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def truncated(a: int, b: int) -> int:
    """a / b without its fraction."""
    return abs(a) // b * (1 if a >= 0 else -1)


def of_sum(node: Node, *terms: Interval) -> Interval:
    assert isinstance(node.op, WeightedSum)
    total = node.op.offset, node.op.offset
    for factor, term in zip(node.op.factors, terms, strict=True):
        total = added(total, multiplied((factor, factor), term))
    return total


def of_difference(node: Node, a: Interval, b: Interval) -> Interval:
    """What the greatest element of a row is taken from is not above 0, and what the least one is, not below."""
    low, high = added(a, multiplied(b, (-1, -1)))
    taken, reduced = (uncast(v) for v in node.inputs)
    if isinstance(reduced.op, ReduceMax | ReduceMin) and uncast(reduced.node.inputs[0]) is taken:
        return (low, min(high, 0)) if isinstance(reduced.op, ReduceMax) else (max(low, 0), high)
    return low, high


def uncast(value: Value) -> Value:
    """The value before casts, which are proved to keep all numbers."""
    while isinstance(value.op, Cast):
        value = value.node.inputs[0]
    return value


def of_product(node: Node, a: Interval, b: Interval) -> Interval:
    low, high = multiplied(a, b)
    return (max(0, low), high) if node.inputs[0] is node.inputs[1] else (low, high)


def of_quotient(node: Node, a: Interval, b: Interval) -> Interval | None:
    """Of a divisor that is not below 0; a division by 0 has no value."""
    ends = [truncated(x, max(1, y)) for x in a for y in b]
    return (min(ends), max(ends)) if b[0] >= 0 else None


def of_clip(node: Node, x: Interval) -> Interval:
    assert isinstance(node.op, Clip)
    low, high = (int(min(max(end, node.op.low), node.op.high)) for end in x)
    return low, high


def of_root(node: Node, x: Interval) -> Interval | None:
    return (math.isqrt(x[0]), math.isqrt(x[1])) if x[0] >= 0 and x[1] < MOST_ROOT else None


def of_lookup(node: Node, x: Interval, table: Interval) -> Interval:
    return table


def of_total(node: Node, x: Interval) -> Interval:
    assert isinstance(node.op, ReduceSum)
    count = math.prod(node.inputs[0].type.static_shape[axis] for axis in node.op.axes)
    return count * x[0], count * x[1]


def as_before(node: Node, x: Interval) -> Interval:
    return x


INTERVALS: Mapping[type[Op], Callable[..., Interval | None]] = {
    WeightedSum: of_sum,
    Add: lambda node, a, b: added(a, b),
    Sub: of_difference,
    Mul: of_product,
    Div: of_quotient,
    Minimum: lambda node, a, b: (min(a[0], b[0]), min(a[1], b[1])),
    Maximum: lambda node, a, b: (max(a[0], b[0]), max(a[1], b[1])),
    Clip: of_clip,
    IntegerSqrt: of_root,
    Lookup: of_lookup,
    Cast: as_before,
    ReduceSum: of_total,
    ReduceMax: as_before,
    ReduceMin: as_before,
}
"""By operator, what its result may be, of its node and what its operands may be; None where it has no value."""
REDUCTIONS = (ReduceSum, ReduceMax, ReduceMin)


MOST = {"int32": (1 << 31) - 1, "float64": 1 << 53}
"""Of integers that are computed in a dtype, the greatest magnitude."""


@dataclass(frozen=True)
class Proof:
    """What the values of a chain may be, and in which dtypes their elements are held and computed."""

    op: RowChain
    intervals: Mapping[Value, Interval]

    @cached_property
    def compute(self) -> list[Node]:
        return [n for n in self.op.body.nodes if not isinstance(n.op, Input | Constant)]

    @property
    def result(self) -> Value:
        return self.op.body.outputs[0]

    def along(self, value: Value) -> bool:
        """Whether a value has elements along the rows, and not one number for each row."""
        return math.prod(value.type.static_shape[-len(self.op.axes) :]) > 1

    def most(self, *values: Value) -> int:
        return max(abs(end) for v in values for end in self.intervals[v])

    def dtype(self, value: Value) -> str:
        """In which the elements of a value are held."""
        return narrowest(self.most(value))

    def working(self, node: Node) -> str:
        """In which an operator computes: it has room for the operands, the result, and sums before the last."""
        most = self.most(*elements_of(node), *node.results)
        if isinstance(node.op, WeightedSum):
            terms = zip(node.op.factors, node.inputs, strict=True)
            most = max(most, abs(node.op.offset) + sum(abs(factor) * self.most(v) for factor, v in terms))
        return narrowest(most)


def narrowest(most: int) -> str:
    """The first dtype that holds integers of a magnitude; raises ``Decline`` if none does."""
    found = next((dtype for dtype, limit in MOST.items() if most <= limit), None)
    if found is None:
        raise Decline(f"numbers up to {most} are too large for float64")
    return found


def proof_of(op: RowChain) -> Proof:
    """Raises ``Decline`` unless all values are proved to fit their dtypes, and elements of rows what they are held in.

    Results of operators that are not in ``INTERVALS`` are not proved.
    """
    found: dict[Value, Interval] = {}
    for node in op.body.nodes:
        (value,) = node.results
        data, dtype = value.constant, np.dtype(value.type.dtype)
        if dtype.kind not in "iu":
            raise Decline(f"{node.op.name} gives {value.type.dtype}")
        limits = np.iinfo(dtype)
        if data is not None:
            bounds: Interval | None = int(data.min()), int(data.max())
        elif isinstance(node.op, Input):
            bounds = int(limits.min), int(limits.max)
        else:
            rule = next(INTERVALS[kind] for kind in type(node.op).__mro__ if kind in INTERVALS)
            bounds = rule(node, *(found[v] for v in node.inputs))
        if bounds is None or bounds[0] < limits.min or bounds[1] > limits.max:
            raise Decline(f"{node.op.name} is not proved to fit {value.type.dtype}")
        found[value] = bounds
    proof = Proof(op, found)
    for node in proof.compute:
        if any(map(proof.along, (*node.inputs, *node.results))):
            proof.working(node)
    return proof
