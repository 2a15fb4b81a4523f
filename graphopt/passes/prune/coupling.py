"""Coupled groups: the connected components of the relations of a graph.

A unit is the elements of one component; removing it is exact on any graph. DepGraph (Fang et al., CVPR 2023) couples
layers. Here single indices are coupled, so that offsets, permutations and repetitions need no special case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graphopt.ir import Array, Graph, Node, Value, rebuild
from graphopt.passes.prune.maps import relate
from graphopt.passes.prune.relations import ChannelAxis, Choice, Relations

Option = tuple[Choice, list[ChannelAxis], list[ChannelAxis]]
"""A choice, and the axes of both sides that may shrink."""

RESHAPED = "a reshape mixes it with other axes"
WHOLE = "its channels only go all together"


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Units that touch the same axes, with the same number of elements on each.

    ``units`` [units, elements] has the sorted element numbers; ``counts`` has the elements of a unit on each axis.
    """

    axes: tuple[ChannelAxis, ...]
    counts: tuple[int, ...]
    units: Array

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True, eq=False)
class Coupling:
    """A graph's relations, resolved: the component of every element, and the reasons why components must stay."""

    relations: Relations
    labels: Array
    reasons: dict[int, str]
    """Why a component must stay, by component."""

    @property
    def graph(self) -> Graph:
        return self.relations.graph

    @cached_property
    def axis_of(self) -> Array:
        """For every element, the position of its axis in ``relations.axes``."""
        sizes = [a.size for a in self.relations.axes]
        return np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def layer_of(self) -> dict[ChannelAxis, Node]:
        """The layer whose weights compute the channels of an axis, by axis."""
        return {place: node for node, places in self.relations.producers.items() for place in places}

    @cached_property
    def order(self) -> dict[Node, int]:
        """The position of each layer in the graph."""
        return {node: i for i, node in enumerate(self.relations.producers)}

    def label_of(self, place: ChannelAxis) -> Array:
        """The components of the elements of an axis."""
        start = self.relations.starts[place]
        return self.labels[start : start + place.size]

    @cached_property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """All removable units, grouped by the axes that they touch, in the order of the graph.

        A component is not removable if it must stay, or if it touches no constant.
        """
        constant = np.array([a.value.constant is not None for a in self.relations.axes])
        found: dict[bytes, list[Array]] = {}
        for elements in self.components():
            touched, counts = np.unique(self.axis_of[elements], return_counts=True)
            if constant[touched].any():
                found.setdefault(np.stack([touched, counts]).tobytes(), []).append(elements)
        return tuple(self.group(key, units) for key, units in found.items())

    def group(self, key: bytes, units: Sequence[Array]) -> ChannelGroup:
        touched, counts = np.frombuffer(key, np.int64).reshape(2, -1)
        return ChannelGroup(tuple(self.relations.axes[a] for a in touched), tuple(counts.tolist()), np.stack(units))

    def layers(self, group: ChannelGroup) -> tuple[str, ...]:
        """The names of the layers that compute the channels of a group; without layers, the name of its first value."""
        found = {self.layer_of[p] for p in group.axes if p in self.layer_of}
        names = self.graph.names
        return tuple(names[n] for n in sorted(found, key=self.order.__getitem__) or [group.axes[0].value.node])

    def components(self) -> Iterator[Array]:
        """The sorted elements of every component that need not stay, in order of first elements."""
        labels = self.labels[: self.relations.count]
        free = np.ones(int(self.labels.max(initial=-1)) + 1, bool)
        free[list(self.reasons)] = False
        elements = np.flatnonzero(free[labels])
        order = elements[np.argsort(labels[elements], kind="stable")]
        parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
        yield from sorted(parts, key=lambda part: int(part[0]))

    def whole_axes(self) -> list[int]:
        """The components that hold all elements of an axis; removing one would leave nothing of the axis."""
        axes = len(self.relations.axes)
        pairs = self.labels[: self.relations.count].astype(np.int64) * axes + self.axis_of
        found, counts = np.unique(pairs, return_counts=True)
        sizes = np.array([a.size for a in self.relations.axes])
        return list(np.unique(found[counts == sizes[found % axes]] // axes).tolist()) if axes else []

    def why_kept(self, place: ChannelAxis) -> str | None:
        """Why the whole axis must stay; None if some of its elements may be removed."""
        reasons = [self.reasons.get(int(label)) for label in np.unique(self.label_of(place))]
        if any(r is None for r in reasons):
            return None
        return ", or ".join(dict.fromkeys(r for r in reasons if r))


def couple(graph: Graph, keep: Sequence[tuple[ChannelAxis, str]] = ()) -> Coupling:
    """The coupled groups of a graph; ``keep`` names axes that must stay, and why."""
    relations = relate(graph)
    for place, why in keep:
        relations.keep_axis(place.value, place.axis, why)
    coupling = solve(relations)
    while relations.choices:
        decide(relations, coupling)
        coupling = solve(relations)
    return coupling


def solve(relations: Relations) -> Coupling:
    """The components of the present links, and for each that must stay, its first reason."""
    size = 1 + max([relations.count - 1, *(int(a.max(initial=-1)) for pair in relations.links for a in pair)])
    empty = [np.arange(0)]
    a, b = (np.concatenate([*empty, *(pair[side] for pair in relations.links)]) for side in (0, 1))
    links = coo_array((np.ones(len(a), bool), (a, b)), shape=(size, size))
    _, labels = connected_components(links, directed=False)
    reasons: dict[int, str] = {}
    for elements, why in relations.kept:
        for label in np.unique(labels[elements]).tolist():
            reasons.setdefault(label, why)
    coupling = Coupling(relations, labels, reasons)
    for label in coupling.whole_axes():
        reasons.setdefault(label, WHOLE)
    return coupling


def decide(relations: Relations, coupling: Coupling) -> None:
    """Settle the clear choices: those with a side where no axis may shrink, or with one axis on each side that may.

    If no choice is clear, settle the first of each set of dependent choices. It chooses the axis that is coupled with
    the most others (attention's heads before the channels of a head), then the longest.
    """
    options = [(c, live(c.before, coupling), live(c.after, coupling)) for c in relations.choices]
    clear = [o for o in options if not (o[1] and o[2]) or len(o[1]) == len(o[2]) == 1]
    if not clear:
        coupled = coupled_axes(relations, coupling)
        reach = {place: len(part) for part in nx.connected_components(coupled) for place in part}
        for choice, *sides in first_of_each(options, coupled):
            best = [[max(side, key=lambda p: (reach[p], p.size))] for side in sides]
            clear.append((choice, best[0], best[1]))
    settled = {id(choice) for choice, *_ in clear}
    relations.choices = [c for c in relations.choices if id(c) not in settled]
    for choice, before, after in clear:
        stuck = [] if before and after else choice.after if before else choice.before
        why = [w for place in stuck if (w := coupling.why_kept(place))]
        settle(relations, choice, before, after, why[0] if why else None)


def first_of_each(options: Sequence[Option], coupled: nx.Graph) -> Iterator[Option]:
    """The first of each set of dependent choices: choices are dependent if they, or links, connect their axes.

    So the blocks of a deep network are settled together, not one after the other.
    """
    joined = coupled.copy()
    for choice, *_ in options:
        nx.add_path(joined, (*choice.before, *choice.after))
    cluster = {place: i for i, part in enumerate(nx.connected_components(joined)) for place in part}
    seen = set()
    for option in options:
        if (own := cluster[option[0].before[0]]) not in seen:
            seen.add(own)
            yield option


def live(run: Sequence[ChannelAxis], coupling: Coupling) -> list[ChannelAxis]:
    return [place for place in run if coupling.why_kept(place) is None]


def settle(
    relations: Relations, choice: Choice, before: list[ChannelAxis], after: list[ChannelAxis], why: str | None
) -> None:
    """Link the chosen axis of each side by their common elements; all other axes must stay, for the given reason."""
    chosen = (*before, *after) if before and after else ()
    for place in (*choice.before, *choice.after):
        if place not in chosen:
            relations.keep_axis(place.value, place.axis, why or RESHAPED)
    if not chosen:
        return
    x, y = (element_of(run, place) for run, place in ((choice.before, chosen[0]), (choice.after, chosen[1])))
    relations.link(x + relations.starts[chosen[0]], y + relations.starts[chosen[1]])


def element_of(run: Sequence[ChannelAxis], place: ChannelAxis) -> Array:
    """For every element of a run of axes, in row-major order, its index along one of them."""
    shape = tuple(p.size for p in run)
    return np.unravel_index(np.arange(np.prod(shape)), shape)[run.index(place)]


def coupled_axes(relations: Relations, coupling: Coupling) -> nx.Graph:
    """The graph of axes, with an edge between axes that links couple."""
    graph = nx.Graph()
    graph.add_nodes_from(relations.axes)
    for a, b in relations.links:
        pairs = np.unique(coupling.axis_of[np.stack([a, b])], axis=1).T.tolist()
        graph.add_edges_from((relations.axes[i], relations.axes[j]) for i, j in pairs)
    return graph


def separate_vectors(graph: Graph) -> Graph:
    """The graph with a copy of each shared vector for every reader, so that equal biases do not couple layers."""
    shared = {
        v
        for v, users in graph.uses.items()
        if v.constant is not None and len(users) > 1 and sum(d != 1 for d in v.constant.shape) <= 1
    }
    seen: set[Value] = set()

    def transform(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        own = []
        for old, new in zip(node.inputs, inputs, strict=True):
            again = old in shared and old in seen
            own.append(old.op(name=old.node.name, origins=old.node.origins) if again else new)
            seen.add(old)
        return node.with_inputs(own).results if shared.intersection(node.inputs) else None

    return rebuild(graph, transform) if shared else graph
