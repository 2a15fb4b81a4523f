"""Removal: the graph without some of the indices of its axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Graph, Node, Value, cast_floats, constant, rebuild, verify
from graphopt.passes.prune.coupling import Coupling
from graphopt.passes.prune.maps import relate, shrink
from graphopt.passes.prune.masked import masked_graph
from graphopt.passes.prune.relations import ChannelAxis


@dataclass(frozen=True, eq=False)
class Removal:
    """The removal of a set of units from a coupled graph, as a mark on every element."""

    coupling: Coupling
    gone: Array

    @classmethod
    def of(cls, coupling: Coupling, units: Iterable[Array]) -> Removal:
        gone = np.zeros(coupling.relations.count, bool)
        for elements in units:
            gone[elements] = True
        return cls(coupling, gone)

    @property
    def graph(self) -> Graph:
        return self.coupling.graph

    def marks(self, place: ChannelAxis) -> Array:
        """Which indices of an axis are removed."""
        start = self.coupling.relations.starts[place]
        return self.gone[start : start + place.size]

    def axes(self) -> dict[ChannelAxis, Array]:
        """The axes that shrink, with their kept indices."""
        touched = np.unique(self.coupling.axis_of[self.gone])
        places = [self.coupling.relations.axes[a] for a in touched]
        return {place: np.flatnonzero(~self.marks(place)) for place in places}

    def apply(self) -> Graph:
        """The small graph, verified. Raises ``InvalidGraph`` if an index map is wrong."""
        kept = self.axes()
        made: dict[tuple[int, bytes], Value] = {}

        def transform(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if node.results[0].constant is not None:
                return [sliced(node.results[0], kept, made)]
            results = shrink(node, inputs, kept)
            for old, new in zip(node.results, results, strict=True):
                check_shape(old, new, kept, self.graph.names[node])
            return results

        small = rebuild(self.graph, transform)
        verify(small)
        return small

    def cast(self, dtype: str) -> Removal:
        """The same removal from the graph with its float32 in ``dtype``."""
        return replace(self, coupling=replace(self.coupling, relations=relate(cast_floats(self.graph, dtype))))

    def masked(self, seed: int | None = None) -> Graph:
        """The old graph with zeros for removed elements before sums; with a seed, the removed weights are random."""
        return masked_graph(self.coupling.relations, self.marks, seed)


def sliced(weight: Value, kept: Mapping[ChannelAxis, Array], made: dict[tuple[int, bytes], Value]) -> Value:
    """A constant without its removed elements; a shared one that shrinks alike for its readers stays shared."""
    data = weight.constant
    assert data is not None
    key = b""
    for axis in range(data.ndim):
        if (stay := kept.get(ChannelAxis(weight, axis))) is not None:
            data = data.take(stay, axis)
            key += bytes([axis]) + stay.tobytes()
    if not key:
        return made.setdefault((id(weight.constant), key), weight)
    return made.setdefault((id(weight.constant), key), constant(data, like=weight))


def check_shape(old: Value, new: Value, kept: Mapping[ChannelAxis, Array], where: str) -> None:
    places = [ChannelAxis(old, axis) for axis in range(old.type.rank)]
    wanted = tuple(p.shrunk(len(kept[p])) if p in kept else p.dim for p in places)
    if new.type.shape != wanted:
        raise InvalidGraph(f"it shrank to {new.type}, {wanted} was wanted", where=where)
