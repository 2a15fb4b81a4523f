"""The parameters of activations: a value's own, and those that it shares with others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from graphopt.ir import Node, QParams, Value, asymmetric
from graphopt.ops import Concat
from graphopt.passes.quantize.insert import Partition, choose
from graphopt.passes.quantize.observers import OBSERVERS, Histogram
from graphopt.passes.quantize.scheme import Scheme

LEAST_LEVELS = 127.5
"""A range must keep this many of the 255 steps that int8 would give it alone; with fewer, more than one bit is lost."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """The observed ranges of a partition's values, with the scheme and observer that turn them into parameters."""

    partition: Partition
    histograms: Mapping[Value, Histogram]
    scheme: Scheme
    observer: str

    def without(self, floats: Collection[Node]) -> Ranges:
        """The same ranges, with some nodes in float."""
        return replace(self, partition=choose(self.partition.graph, self.scheme, floats)) if floats else self

    def bits(self, value: Value) -> int:
        if value in self.partition.states:
            return 16
        return self.scheme.activation_bits(self.partition.graph.names[value.node])

    def own(self, value: Value, most: int = 16) -> QParams:
        """The parameters that a value would have alone, in at most so many bits."""
        bits, rule = min(self.bits(value), most), self.partition.rules.get(value.node)
        histogram = self.histograms[value]
        low, high = OBSERVERS[self.observer](histogram, bits)
        if histogram.ends_unseen:  # a mask saturates there, and is not counted
            low = histogram.low
        if rule and rule.fixed and bits == 8:
            low, high = rule.fixed
        return asymmetric(low, high, bits)

    def width(self, value: Value) -> float | None:
        """The width of a value's own range, including 0; None if it is unknown, or the value is always zero."""
        if value.constant is not None:
            finite = value.constant[np.isfinite(value.constant)]
            return float(max(finite.max(initial=0.0), 0.0) - min(finite.min(initial=0.0), 0.0)) or None
        if value not in self.histograms or self.histograms[value].is_zero:
            return None
        own = self.own(value)
        return float(own.scale) * ((1 << own.bits) - 1)

    def serves(self, shared: QParams, part: Value) -> bool:
        """Whether shared parameters leave a value more than half of the levels that int8 would give it alone.

        Then the shared scale costs less than one bit. An int16 scale has eight bits more to spare.
        """
        width = self.width(part)
        return width is None or width > LEAST_LEVELS * float(shared.scale)


def activation_parameters(ranges: Ranges) -> dict[Value, QParams]:
    """The parameters of every value: from the observed or the known range; for a move, those of its operand.

    Initial states have their own, since a net may slice them out of one input that holds states of several kinds.
    A value that only a concatenation reads takes the parameters of its result, so that nothing is requantized there.
    """
    partition, found = ranges.partition, dict[Value, QParams]()
    initial = partition.initial
    for value in partition.values:
        rule = partition.rules.get(value.node)
        shares = rule is not None and rule.move and value not in initial
        moved = next((found[v] for v in value.node.inputs if v in found), None) if shares else None
        found[value] = ranges.own(value) if moved is None else moved
    return found | shared_with_concat(partition, found)


def narrowed_operands(ranges: Ranges, found: Mapping[Value, QParams]) -> dict[Node, QParams]:
    """Parameters of 8 bits for what layers with weights read that has more, unless it is a state."""
    layers = ((node, node.inputs[0]) for node, rule in ranges.partition.rules.items() if rule.weights)
    wide = ((node, x) for node, x in layers if x in found and found[x].bits > 8 and x not in ranges.partition.states)
    return {node: ranges.own(x, most=8) for node, x in wide}


def shared_with_concat(partition: Partition, found: Mapping[Value, QParams]) -> dict[Value, QParams]:
    shared = {}
    for node in partition.rules:
        if not isinstance(node.op, Concat):
            continue
        wanted = found[node.results[0]]
        for value in partition.operands(node):
            producer = partition.rules.get(value.node)
            alone = partition.graph.use_count(value) == 1 and found[value].bits == wanted.bits
            if producer and not producer.move and not producer.fixed and alone:
                shared[value] = wanted
    return shared
