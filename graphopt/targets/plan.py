"""The arena: the offset of each intermediate tensor in one block of memory, planned from lifetimes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import networkx as nx

TRIES = 200
MORE_TRIES = 1000
"""Where buffers may overlap, in one order far more depends on another."""
PLACES = 8
"""Of those where a buffer may begin that overlaps another, so many are tried."""


@dataclass(frozen=True)
class Lifetime:
    """A buffer of ``size`` bytes that is written at step ``first`` and last read at step ``last``."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Overlap:
    """A result may lie over an operand if it begins ``gap`` bytes below it, or a multiple of ``step`` more."""

    gap: int
    step: int = 1


Overlaps = Mapping[tuple[str, str], Overlap]
"""By the names of operand and result; the operand is not read after the step that writes the result."""


@dataclass(frozen=True)
class Plan:
    """The offset of every buffer in bytes, and the size of the arena."""

    offsets: Mapping[str, int]
    size: int
    peak: tuple[Lifetime, ...]
    """The buffers that live together at the fullest step."""
    bound: int = 0
    """The bytes that the fullest step needs: no plan of these buffers has fewer."""


def interference(lifetimes: Sequence[Lifetime]) -> nx.Graph:
    """The interference graph: edges join buffers that must not overlap, since they are alive in the same step."""
    graph = nx.Graph()
    graph.add_nodes_from(b.name for b in lifetimes)
    alive: list[Lifetime] = []
    for b in sorted(lifetimes, key=lambda b: b.first):
        alive = [a for a in alive if a.last >= b.first]
        graph.add_edges_from((a.name, b.name) for a in alive)
        alive.append(b)
    return graph


def fullest_step(
    lifetimes: Sequence[Lifetime], sizes: Mapping[str, int], overlaps: Overlaps
) -> tuple[tuple[Lifetime, ...], int]:
    """The buffers that are alive in the first of the steps that need the most bytes, and these bytes."""
    totals = step_bytes(lifetimes, sizes, overlaps)
    step = totals.index(max(totals))
    return tuple(b for b in lifetimes if b.first <= step <= b.last), max(totals)


def step_bytes(lifetimes: Sequence[Lifetime], sizes: Mapping[str, int], overlaps: Overlaps) -> list[int]:
    """The bytes that each step needs, where each result overlaps its operands as far as it may."""
    resized = [replace(b, size=sizes[b.name]) for b in lifetimes]
    totals = live_bytes(resized, 1 + max((b.last for b in lifetimes), default=0))
    known = {b.name: b for b in lifetimes}
    spared: dict[tuple[str, int], int] = {}
    together: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for (operand, result), overlap in overlaps.items():
        saved = covered(sizes[result], [(overlap.gap, sizes[operand])])
        for step in range(known[result].first, known[operand].last + 1):
            both = spared.get((operand, step), 0) + saved
            spared[operand, step] = min(both, sizes[operand])  # what lies over one operand lies apart
            together.setdefault(step, {}).setdefault(result, []).append((overlap.gap, sizes[operand]))
    for step, results in together.items():
        by_operand = sum(saved for (_, at), saved in spared.items() if at == step)
        by_result = sum(covered(sizes[result], operands) for result, operands in results.items())
        totals[step] -= min(by_operand, by_result)
    return totals


def covered(size: int, operands: Sequence[tuple[int, int]]) -> int:
    """The most bytes that a result can have in common with operands, each a gap above its start and so large."""
    at = common = 0
    for gap, operand in sorted(operands):
        start = max(at, gap)
        at = start + operand
        common += max(0, min(at, size) - start)
    return common


def live_bytes(lifetimes: Sequence[Lifetime], steps: int) -> list[int]:
    """The bytes of the buffers that are alive in each step."""
    change = [0] * (steps + 1)
    for b in lifetimes:
        change[b.first] += b.size
        change[b.last + 1] -= b.size
    return list(accumulate(change))[:steps]


def occupied_bytes(lifetimes: Sequence[Lifetime], offsets: Mapping[str, int], steps: int) -> list[int]:
    """The bytes of the arena that hold something in each step; those of two buffers that overlap are counted once."""
    spans: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    for b in lifetimes:
        for step in range(b.first, b.last + 1):
            spans[step].append((offsets[b.name], offsets[b.name] + b.size))
    totals = []
    for alive in spans:
        total = end = 0
        for low, high in sorted(alive):
            total += max(0, high - max(low, end))
            end = max(end, high)
        totals.append(total)
    return totals


def plan_arena(
    lifetimes: Sequence[Lifetime], alignment: int, overlaps: Overlaps | None = None, trimmed: bool = False
) -> Plan:
    """Place buffers by first fit in several orders and keep the smallest arena.

    The first order is greedy by size (Pisarchyk and Lee, 2020); seeded random exchanges give the others. It stops
    as soon as the arena is no larger than the bytes that the fullest step needs. A result that may overlap its operand
    begins below it, so of equal buffers the later ones are placed first. A ``trimmed``
    arena ends with the last byte that is used, any other at a multiple of the alignment.
    """
    overlaps = overlaps or {}
    sizes = {b.name: rounded_up(b.size, alignment) for b in lifetimes}
    used = {b.name: b.size for b in lifetimes} if trimmed else sizes
    arena = Arena(sizes, used, interference(lifetimes), overlaps, alignment)
    peak, bound = fullest_step(lifetimes, sizes, overlaps)
    bound -= max((sizes[b.name] - used[b.name] for b in peak), default=0)  # any of these may be the last
    turned = -1 if overlaps else 1
    order = [b.name for b in sorted(lifetimes, key=lambda b: (-b.size, turned * b.first, b.name))]
    best = arena.place(order)
    chance = random.Random(0)
    for _ in range(MORE_TRIES if overlaps else TRIES if len(order) > 2 else 0):
        if best[1] <= bound:
            break
        tried = order[:]
        for _ in range(chance.randint(1, 3)):
            i, j = chance.randrange(len(order)), chance.randrange(len(order))
            tried[i], tried[j] = tried[j], tried[i]
        attempt = arena.place(tried)
        if attempt[1] <= best[1]:
            best, order = attempt, tried
    return Plan(best[0], best[1], peak, bound)


def rounded_up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


@dataclass(frozen=True)
class Arena:
    """The buffers to place: their sizes, which must lie apart, and of these which may overlap all the same.

    What is last in the arena takes the bytes that are ``used`` of it.
    """

    sizes: Mapping[str, int]
    used: Mapping[str, int]
    apart: nx.Graph
    overlaps: Overlaps
    alignment: int

    def place(self, order: Sequence[str]) -> tuple[dict[str, int], int]:
        """First fit in the given order: offsets, and the size of the arena."""
        offsets: dict[str, int] = {}
        for name in order:
            others = [u for u in self.apart[name] if u in offsets]
            forbidden = sorted(span for u in others for span in self.forbidden(name, u, offsets[u]))
            offsets[name] = first_fit(forbidden, self.alignment)
        return offsets, max((offsets[n] + self.used[n] for n in offsets), default=0)

    def forbidden(self, name: str, other: str, at: int) -> list[tuple[int, int]]:
        """The open intervals in which a buffer may not begin, because of another one that is placed."""
        before, behind = at - self.sizes[name], at + self.sizes[other]
        below, above = self.overlaps.get((other, name)), self.overlaps.get((name, other))
        if below is None and above is None:
            return [(before, behind)]
        if below is not None:
            places = range(at - below.gap, before, -below.step)
        else:
            assert above is not None
            places = range(at + above.gap, behind, above.step)
        if places.step in (-1, 1):  # all of them
            last = places[0] if places else (before if below else behind)
            return [(last, behind) if below else (before, last)]
        return list(pairwise(sorted({before, behind, *places[:PLACES]})))


def first_fit(forbidden: Sequence[tuple[int, int]], alignment: int) -> int:
    """The lowest offset that lies in none of the sorted open intervals."""
    offset = 0
    for low, high in forbidden:
        if offset <= low:
            break
        if offset < high:
            offset = rounded_up(high, alignment)
    return offset
