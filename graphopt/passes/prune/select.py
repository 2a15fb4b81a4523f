"""Select the units to remove: sum scores over coupled groups, make them comparable, take the least important."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array
from graphopt.passes.prune.coupling import ChannelGroup, Coupling
from graphopt.passes.prune.importance import Scores
from graphopt.passes.prune.relations import ChannelAxis

SCOPES = ("global", "local", "isomorphic")


def group_scores(coupling: Coupling, group: ChannelGroup, scores: Scores) -> Array | None:
    """The score of each unit, the magnitude of the sum over all its elements; None if the group has no score."""
    total, known = np.zeros(len(group)), False
    for place, within in positions(coupling, group):
        array = scores.get(place.value)
        if array is None or array.shape[place.axis] != place.size:
            continue
        others = tuple(a for a in range(array.ndim) if a != place.axis)
        total += array.astype(np.float64).sum(axis=others)[within].sum(axis=1)
        known = True
    return np.abs(total) if known else None


def positions(coupling: Coupling, group: ChannelGroup) -> Iterator[tuple[ChannelAxis, Array]]:
    """The axes of a group, each with the indices of its units: [units, indices of one]."""
    start = 0
    for place, count in zip(group.axes, group.counts, strict=True):
        yield place, group.units[:, start : start + count] - coupling.relations.starts[place]
        start += count


def comparable(scores: Array, normalize: bool) -> Array:
    """Scores of a group divided by their mean if ``normalize``, so that those of all layers compare."""
    mean = float(scores.mean())
    return scores / mean if normalize and mean > 0 else scores


@dataclass(frozen=True)
class Limits:
    """Every axis keeps at least ``min_channels``; channels of weights in a group stay a multiple of ``round_to``."""

    min_channels: int = 1
    round_to: int = 1


@dataclass(frozen=True, eq=False)
class Ranking:
    """The ranked units of a coupling in pools; each pool loses the same fraction, the least important units first."""

    coupling: Coupling
    scores: dict[ChannelGroup, Array]
    pools: tuple[tuple[ChannelGroup, ...], ...]
    limits: Limits

    @classmethod
    def of(cls, coupling: Coupling, scores: Scores, scope: str, normalize: bool, limits: Limits) -> Ranking:
        """The ranking of all units with scores. Raises ``InvalidInput`` if the criterion gives no score to any unit."""
        known = {g: s for g in coupling.groups if (s := group_scores(coupling, g, scores)) is not None}
        if coupling.groups and not known:
            raise InvalidInput("it says nothing of any channel of this graph", where="importance")
        ranked = {g: comparable(s, normalize) for g, s in known.items()}
        pools: dict[object, list[ChannelGroup]] = {}
        for group in ranked:
            pools.setdefault({"global": None, "local": group, "isomorphic": structure(group)}[scope], []).append(group)
        return cls(coupling, ranked, tuple(map(tuple, pools.values())), limits)

    def per_cost(self, saved: Callable[[ChannelGroup], float]) -> Ranking:
        """The same units, ranked by their scores divided by what one unit of their group costs.

        Where it costs nothing the score counts as it is by the least cost of any other group: such units go last.
        """
        costs = {group: saved(group) for group in self.scores}
        least = min((cost for cost in costs.values() if cost > 0), default=1.0)
        scores = {group: scores / max(costs[group], least) for group, scores in self.scores.items()}
        return replace(self, scores=scores)

    def least(self, ratio: float) -> dict[ChannelGroup, Array]:
        """For each group, the positions of the units to remove, for ``ratio`` of every pool."""
        left = {place: place.size for group in self.scores for place in group.axes}
        chosen: dict[ChannelGroup, Array] = {}
        for pool in self.pools:
            total = sum(map(len, pool))
            chosen |= self.from_pool(pool, int(ratio * total + 0.5), left)
        return {g: self.rounded(g, units) for g, units in chosen.items()}

    def from_pool(
        self, pool: tuple[ChannelGroup, ...], count: int, left: dict[ChannelAxis, int]
    ) -> dict[ChannelGroup, Array]:
        scores = np.concatenate([self.scores[g] for g in pool])
        owner = np.repeat(np.arange(len(pool)), [len(g) for g in pool])
        within = np.concatenate([np.arange(len(g)) for g in pool])
        chosen: dict[ChannelGroup, list[int]] = {g: [] for g in pool}
        for candidate in np.argsort(scores, kind="stable"):
            group = pool[owner[candidate]]
            if not count:
                break
            touched = list(zip(group.axes, group.counts, strict=True))
            if all(left[place] - n >= min(self.limits.min_channels, place.size) for place, n in touched):
                left.update({place: left[place] - n for place, n in touched})
                chosen[group].append(int(within[candidate]))
                count -= 1
        return {g: np.array(units, int) for g, units in chosen.items()}

    def rounded(self, group: ChannelGroup, units: Array) -> Array:
        """The most units, from the least important on, that leave a multiple of ``round_to`` channels."""
        weights = [(p, n) for p, n in zip(group.axes, group.counts, strict=True) if p.value.constant is not None]
        whole = [n for p, n in weights if n * len(group) == p.size]
        for count in range(len(units), 0, -1):
            if all(n * (len(group) - count) % self.limits.round_to == 0 for n in whole):
                return units[:count]
        return units[:0]


def structure(group: ChannelGroup) -> tuple[object, ...]:
    """The kind of a group: its operators, axes and element counts (Fang et al., ECCV 2024)."""
    return tuple((p.value.op.name, p.axis, p.value.type.rank, n) for p, n in zip(group.axes, group.counts, strict=True))


def units_of(chosen: dict[ChannelGroup, Array]) -> Iterable[Array]:
    """The elements of all chosen units."""
    return (group.units[i] for group, units in chosen.items() for i in units)
