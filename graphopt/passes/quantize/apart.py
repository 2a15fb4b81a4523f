"""Split values that are read through slices of unlike ranges: each slice is computed alone, with its own scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from itertools import pairwise

import numpy as np

from graphopt.ir import Graph, Node, Value, rebuild
from graphopt.ops import Binary, Concat, Reshape, Unary
from graphopt.passes.data import Data
from graphopt.passes.quantize.calibrate import observe
from graphopt.passes.quantize.insert import choose
from graphopt.passes.quantize.joins import unlike_parts
from graphopt.passes.quantize.parameters import Ranges
from graphopt.passes.quantize.parts import PartBuilder, Selection, selection_of
from graphopt.passes.quantize.scheme import Scheme
from graphopt.passes.quantize.splits import without_splits
from graphopt.rewrite import Decline

ROUNDS = 4
"""The most rounds of splitting; each round may move slices of slices before a join."""


@dataclass(frozen=True, eq=False)
class Apart:
    """A graph with its slices split, the ranges of its values, and by part the name of the layer that was divided."""

    ranges: Ranges
    renamed: dict[str, str]

    @property
    def graph(self) -> Graph:
        return self.ranges.partition.graph

    @property
    def scheme(self) -> Scheme:
        return self.ranges.scheme


def taken_apart(graph: Graph, scheme: Scheme, observer: str, data: Data) -> Apart:
    """The same function, in which slices of unlike ranges do not share a scale.

    A slice of a join reads the operand of the join directly. A layer that is read only through slices becomes one layer
    for each, if a common scale is too coarse for one of them. Elementwise functions of a join of unlike ranges move
    before the join. Parts have the overrides of the layers that they come from.
    """
    graph, renamed = without_splits(graph), dict[str, str]()
    for left in reversed(range(ROUNDS + 1)):
        partition = choose(graph, scheme)
        ranges = Ranges(partition, observe(graph, partition.values, data), scheme, observer)
        cut, parts = with_parts(ranges) if left else (graph, {})
        if cut is graph:
            break
        inherited = {escape(p): w for p, old in parts.items() if (w := scheme.override(old)) and not scheme.override(p)}
        graph, scheme = cut, replace(scheme, overrides={**scheme.overrides, **inherited})
        renamed |= parts
    return Apart(ranges, renamed)


def with_parts(ranges: Ranges) -> tuple[Graph, dict[str, str]]:
    """One round of splitting: the graph (the same one if nothing is split), and by part the name of its old layer."""
    graph = ranges.partition.graph
    unlike = {value: taken for value in ranges.partition.values if (taken := unlike_slices(value, ranges))}
    new: dict[Value, Value] = {}
    parts, made = PartBuilder(graph, new), dict[Node, Value]()

    def divided(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        taken = unlike.pop(node.inputs[0], None) if node.inputs else None
        if taken is not None:
            made.update(divide(node.inputs[0], taken, parts))
        join = joined_operand(node, ranges)
        if join is not None:
            made[node] = joined_behind(node, join, parts)
        results = (made[node],) if node in made else node.with_inputs(inputs).results
        new.update(zip(node.results, results, strict=True))
        return results

    cut = rebuild(graph, divided)
    if not made:
        return graph, {}
    names = set(cut.names.values())
    return cut, {part: old for part, old in parts.renamed.items() if part in names}


def unlike_slices(value: Value, ranges: Ranges) -> dict[Node, Selection]:
    """The slices of a value, if the value's scale is too coarse for one of them."""
    readers = ranges.partition.graph.uses[value]
    taken = {node: selection for node in readers if (selection := selection_of(node)) is not None}
    if not taken:
        return {}
    shared = ranges.own(value)
    return {} if all(ranges.serves(shared, node.results[0]) for node in taken) else taken


def divide(value: Value, slices: Mapping[Node, Selection], parts: PartBuilder) -> dict[Node, Value]:
    """The slices of a value, computed alone. For a value that computes, all slices or none, so that none runs twice."""
    alone = parts.graph.use_count(value) == len(slices) and disjoint(list(slices.values()))
    made: dict[Node, Value] = {}
    for node, taken in slices.items():
        try:
            part = parts.part(value, taken, alone)
        except Decline:
            if alone:
                return {}
            continue
        shape = node.types[0].shape
        made[node] = part if part.type.shape == shape else Reshape(shape=shape)(part, name=node.name)
    return made


def joined_operand(node: Node, ranges: Ranges) -> Node | None:
    """The join of unlike ranges, if a node is an elementwise function of it and values between have no other reader."""
    graph, value = ranges.partition.graph, node.results[0]
    while isinstance(value.op, Unary | Binary):
        operands = [v for v in value.node.inputs if v.constant is None]
        shared = value.node is not node and graph.use_count(value) > 1
        if shared or len(operands) != 1 or operands[0].type != value.type:
            return None
        value = operands[0]
    join = value.node
    found = join is not node and join in ranges.partition.rules and unlike_parts(join, ranges)
    return join if found and segments(join) else None


def segments(join: Node) -> list[Selection]:
    """The selection of each operand in the result of a concatenation; empty if it joins batches."""
    assert isinstance(join.op, Concat)
    axis, sizes = join.op.axis, [v.type.shape[join.op.axis] for v in join.inputs]
    ends = np.cumsum([0, *(size for size in sizes if isinstance(size, int))])
    return [Selection(axis, np.arange(a, b)) for a, b in pairwise(ends)] if len(ends) > len(sizes) else []


def joined_behind(node: Node, join: Node, parts: PartBuilder) -> Value:
    """An elementwise function of a join, as the join of the function of each operand."""
    pieces = [parts.part(node.results[0], taken, alone=True) for taken in segments(join)]
    return join.op(*pieces, name=node.name, origins=node.origins)


def disjoint(selections: Sequence[Selection]) -> bool:
    places = np.concatenate([s.places for s in selections])
    return len({s.axis for s in selections}) == 1 and len(np.unique(places)) == len(places)
