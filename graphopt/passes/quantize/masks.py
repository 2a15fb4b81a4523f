"""Masks: numbers that are infinite, or so low that softmax gives them no weight, and ranges without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from graphopt.ir import Array, Graph, Node, Value
from graphopt.ops import (
    Add,
    Concat,
    Div,
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    MaxPool,
    Mul,
    ReduceMax,
    Softmax,
    Where,
)
from graphopt.passes.quantize.form import rule_of

ENDLESS = 1e30
"""Numbers from this magnitude on count as infinite, such as the lowest float32 in masks."""

UNSEEN = 12.0
"""An element this far below the largest of its row is 0 in the table of softmax: round(2^15 exp(-12)) = 0."""

FARTHEST = 256.0
"""A row is completely masked if its largest element is farther than this below the largest of all."""

WORTH = 4.0
"""A range is cut at what softmax does not see if that leaves at most 1 / WORTH of it, which gains two bits."""


@dataclass(frozen=True)
class SeenRange:
    """The range of the finite numbers of a value, and whether it had an infinite one below zero.

    If the range was cut for a softmax (``ends_unseen``), the low end stands for everything below it.
    """

    low: float = np.inf
    high: float = -np.inf
    masked: bool = False
    ends_unseen: bool = False

    def __or__(self, other: SeenRange) -> SeenRange:
        return SeenRange(min(self.low, other.low), max(self.high, other.high), self.masked or other.masked)

    @staticmethod
    def of(array: Array) -> SeenRange:
        """The range of an array without NaN."""
        low, high = float(array.min(initial=np.inf)), float(array.max(initial=-np.inf))
        if low > -ENDLESS and high < ENDLESS:
            return SeenRange(low, high)
        finite = array[np.abs(array) < ENDLESS]
        return SeenRange(float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf)), low <= -ENDLESS)

    def cut(self, least: float) -> SeenRange:
        """The range from ``least`` on, if there is a mask or the cut is worth it; a mask saturates at the low end."""
        worth = self.high - self.low > WORTH * (self.high - least)
        low = least if worth else min(self.low, least)
        return replace(self, low=low, ends_unseen=True) if worth or self.masked else self


def is_suspect(seen: SeenRange) -> bool:
    """Whether operands of a softmax may have a mask among them."""
    return seen.masked or seen.high - seen.low > WORTH * UNSEEN


def least_of_rows(array: Array, axis: int, high: float) -> float:
    """The smallest of the row maxima, without rows that are completely masked."""
    rows = array.max(axis=axis)
    return float(rows[rows > high - FARTHEST].min(initial=high))


def cut_masks(graph: Graph, seen: Mapping[Value, SeenRange], least: Mapping[Value, float]) -> dict[Value, SeenRange]:
    """Ranges without the numbers that softmax and maxima do not see.

    ``least`` has the smallest of the row maxima, by operand of softmax. Numbers far enough below it have no weight, nor
    have numbers below every maximum. The operands of an add whose result is cut are also cut, at a bound below which
    they cannot matter, unless another node reads them.
    """
    found, bounds = dict(seen), dict[Value, float]()
    blind = set[tuple[Node, Value]]()
    """The readers, each with an operand that it does not see below the bound of this operand."""

    def bound(reader: Node, value: Value, low: float) -> None:
        bounds[value] = min(low, bounds.get(value, low))
        blind.add((reader, value))

    for node in reversed(graph.nodes):
        if isinstance(node.op, Softmax) and node.inputs[0] in least:
            bound(node, node.inputs[0], least[node.inputs[0]] - UNSEEN)
        elif isinstance(node.op, ReduceMax | MaxPool) and node.results[0] in found:
            bound(node, node.inputs[0], found[node.results[0]].low)
        for value in node.results:
            readers = [use for use in graph.uses[value] if not asks_for_mask(use)]
            unseen = value not in graph.outputs and all((use, value) in blind for use in readers)
            if value in found and value in bounds and unseen:
                found[value] = found[value].cut(bounds[value])
                for operand, low in operand_bounds(node, found[value].low, found):
                    bound(node, operand, low)
    return found


def asks_for_mask(node: Node) -> bool:
    """Whether a node compares with minus infinity, or with a number that counts as such."""
    if not isinstance(node.op, Equal | Greater | GreaterOrEqual | Less | LessOrEqual):
        return False
    return any(v.constant is not None and bool(np.all(v.constant <= -ENDLESS)) for v in node.inputs)


def operand_bounds(node: Node, least: float, seen: Mapping[Value, SeenRange]) -> Iterator[tuple[Value, float]]:
    """The operands of a node whose results do not matter below ``least``, each with the bound that follows for it."""
    op, rule = node.op, rule_of(node.op)
    factor = node.inputs[1].constant if isinstance(op, Mul | Div) else None
    if isinstance(op, Add):
        for value, other in (node.inputs, node.inputs[::-1]):
            known = seen.get(other) if other.constant is None else SeenRange.of(other.constant)
            if known is not None and np.isfinite(known.high):
                yield value, least - known.high
    elif factor is not None:
        if np.all(factor > 0):
            yield node.inputs[0], float((least * factor if isinstance(op, Div) else least / factor).min())
    elif isinstance(op, Where):
        yield from ((value, least) for value in node.inputs[1:])
    elif isinstance(op, Concat):
        yield from ((value, least) for value in node.inputs)
    elif rule is not None and rule.move:
        yield node.inputs[0], least
