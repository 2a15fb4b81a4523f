"""Relations between the indices of axes: which are removed together, which must stay, and where sums run.

An *element* is one index of one axis of one value: the slab of the value at that index. Rules (see ``maps``) link the
elements that must be removed together, index by index. Only whole connected components can be removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from graphopt.ir import Array, Batch, Dim, Graph, Node, Value
from graphopt.passes.prune.reshape import AxisGroup, axis_groups


@dataclass(frozen=True)
class ChannelAxis:
    """One axis of one value."""

    value: Value
    axis: int

    @property
    def dim(self) -> Dim:
        return self.value.type.shape[self.axis]

    @property
    def size(self) -> int:
        """The number of its elements; an axis k*N has k, each of which stands for N indices, k apart."""
        return self.dim.factor if isinstance(self.dim, Batch) else self.dim

    def shrunk(self, size: int) -> Dim:
        """The dimension with ``size`` elements left."""
        return Batch(size) if isinstance(self.dim, Batch) else size


@dataclass(frozen=True)
class Contraction:
    """An axis of an operand over which a node sums products; a removed channel counts as zero there."""

    node: Node
    position: int
    axis: int


@dataclass(frozen=True)
class Choice:
    """A run of axes of x that a reshape turns into a run of axes of y; at most one axis of each run can shrink."""

    node: Node
    before: tuple[ChannelAxis, ...]
    after: tuple[ChannelAxis, ...]


@dataclass
class Relations:
    """The numbered elements of a graph, and their relations from the rules."""

    graph: Graph
    axes: list[ChannelAxis] = field(default_factory=list)
    starts: dict[ChannelAxis, int] = field(default_factory=dict)
    links: list[tuple[Array, Array]] = field(default_factory=list)
    kept: list[tuple[Array, str]] = field(default_factory=list)
    contractions: list[Contraction] = field(default_factory=list)
    producers: dict[Node, list[ChannelAxis]] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    symbols: dict[ChannelAxis, str] = field(default_factory=dict)
    """The axes whose indices are input symbols, with the reasons."""

    count: int = 0

    def __post_init__(self) -> None:
        for node in self.graph.nodes:
            for value in node.results:
                for axis in range(value.type.rank):
                    place = ChannelAxis(value, axis)
                    self.axes.append(place)
                    self.starts[place] = self.count
                    self.count += place.size

    def ids(self, value: Value, axis: int) -> Array:
        """The elements of an axis (counted from the end if negative)."""
        place = ChannelAxis(value, axis % value.type.rank)
        return np.arange(place.size) + self.starts[place]

    def link(self, a: Array, b: Array) -> None:
        """Link elements that are removed together, pair by pair (one side may broadcast to the other)."""
        a, b = np.broadcast_arrays(a, b)
        self.links.append((a.ravel(), b.ravel()))

    def join(self, a: Value, a_axis: int, b: Value, b_axis: int) -> None:
        """Link two axes of equal length, index by index. An axis of one that broadcasts loses nothing."""
        if a.type.shape[a_axis] == b.type.shape[b_axis]:
            self.link(self.ids(a, a_axis), self.ids(b, b_axis))

    def keep(self, elements: Array, why: str) -> None:
        """Record that elements must stay, with a reason that a user can read."""
        self.kept.append((elements, why))

    def keep_axis(self, value: Value, axis: int, why: str) -> None:
        self.keep(self.ids(value, axis), why)

    def keep_value(self, value: Value, why: str, but: Iterable[int] = ()) -> None:
        """Keep all axes of a value, except some."""
        spared = {a % value.type.rank for a in but}
        for axis in range(value.type.rank):
            if axis not in spared:
                self.keep_axis(value, axis, why)

    def keep_symbols(self, place: ChannelAxis, why: str) -> None:
        """Record an axis whose indices are input symbols."""
        self.symbols[place] = why
        self.keep_axis(place.value, place.axis, why)

    def contract(self, node: Node, position: int, axis: int) -> None:
        """Record an axis of an operand over which a node sums."""
        operand = node.inputs[position]
        if isinstance(operand.type.shape[axis], Batch):
            self.keep_axis(operand, axis, "the sum over it is one over the batch")
        else:
            self.contractions.append(Contraction(node, position, axis % operand.type.rank))

    def produce(self, node: Node, axis: int, result: int = 0) -> None:
        """Record an axis of a result whose channels the weights of this node compute."""
        self.producers.setdefault(node, []).append(ChannelAxis(node.results[result], axis % node.types[result].rank))

    def reshape(self, node: Node) -> None:
        """Relate the axes of a reshape by runs: link runs of a single axis, and record a choice for the others."""
        (x,), (y,) = node.inputs, node.results
        for group in axis_groups(x.type.shape, y.type.shape):
            self.relate(node, x, y, group)

    def relate(self, node: Node, x: Value, y: Value, group: AxisGroup) -> None:
        if group.batch:
            for value, run in ((x, group.before), (y, group.after)):
                for axis in run:
                    self.keep_axis(value, axis, "a reshape merges it with the batch")
            return
        before = tuple(ChannelAxis(x, a) for a in group.before)
        after = tuple(ChannelAxis(y, a) for a in group.after)
        if len(before) == len(after) == 1:
            self.link(self.ids(x, group.before[0]), self.ids(y, group.after[0]))
        elif before and after:
            self.choices.append(Choice(node, before, after))
