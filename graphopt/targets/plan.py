"""The arena: the offset of each intermediate tensor in one block of memory, planned from lifetimes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import networkx as nx

TRIES = 200


@dataclass(frozen=True)
class Lifetime:
    """A buffer of ``size`` bytes that is written at step ``first`` and last read at step ``last``."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """The offset of every buffer in bytes, and the size of the arena."""

    offsets: Mapping[str, int]
    size: int
    peak: tuple[Lifetime, ...]
    """The buffers that live together at the fullest step."""


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


def fullest_step(lifetimes: Sequence[Lifetime], sizes: Mapping[str, int]) -> tuple[Lifetime, ...]:
    """The buffers that are alive in the step with the most bytes; the first such step counts."""
    resized = [replace(b, size=sizes[b.name]) for b in lifetimes]
    totals = live_bytes(resized, 1 + max((b.last for b in lifetimes), default=0))
    step = totals.index(max(totals))
    return tuple(b for b in lifetimes if b.first <= step <= b.last)


def live_bytes(lifetimes: Sequence[Lifetime], steps: int) -> list[int]:
    """The bytes of the buffers that are alive in each step."""
    change = [0] * (steps + 1)
    for b in lifetimes:
        change[b.first] += b.size
        change[b.last + 1] -= b.size
    return list(accumulate(change))[:steps]


def plan_arena(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    """Place buffers by first fit in several orders and keep the smallest arena.

    The first order is greedy by size (Pisarchyk and Lee, 2020); seeded random exchanges give the others. It stops
    as soon as the arena is no larger than the bytes that are alive at the fullest step.
    """
    sizes = {b.name: -(-b.size // alignment) * alignment for b in lifetimes}
    graph = interference(lifetimes)
    peak = fullest_step(lifetimes, sizes)
    bound = sum(sizes[b.name] for b in peak)
    order = [b.name for b in sorted(lifetimes, key=lambda b: (-b.size, b.first, b.name))]
    best = place(order, sizes, graph)
    chance = random.Random(0)
    for _ in range(TRIES if len(order) > 2 else 0):
        if best[1] <= bound:
            break
        tried = order[:]
        for _ in range(chance.randint(1, 3)):
            i, j = chance.randrange(len(order)), chance.randrange(len(order))
            tried[i], tried[j] = tried[j], tried[i]
        attempt = place(tried, sizes, graph)
        if attempt[1] <= best[1]:
            best, order = attempt, tried
    return Plan(best[0], best[1], peak)


def place(order: Sequence[str], sizes: Mapping[str, int], graph: nx.Graph) -> tuple[dict[str, int], int]:
    """First fit in the given order: offsets, and the size of the arena."""
    offsets: dict[str, int] = {}
    for name in order:
        taken = sorted((offsets[u], offsets[u] + sizes[u]) for u in graph[name] if u in offsets)
        offsets[name] = first_fit(sizes[name], taken)
    return offsets, max((offsets[n] + sizes[n] for n in offsets), default=0)


def first_fit(size: int, taken: Sequence[tuple[int, int]]) -> int:
    """The lowest offset at which ``size`` bytes overlap none of the sorted intervals."""
    offset = 0
    for low, high in taken:
        if offset + size <= low:
            break
        offset = max(offset, high)
    return offset
