"""The multiple-choice knapsack problem, by dynamic programming."""

from __future__ import annotations

import math

import numpy as np

from graphopt.ir import Array

STEPS = 100_000
"""Into which a budget is divided at most. Where whole costs have so large a divisor that fewer do, the choice is exact;
else costs are rounded up, so that the budget always holds."""


def choose_cheapest(losses: Array, costs: Array, budget: float) -> list[int]:
    """For each of n rows one of its m choices: whole costs [n, m] add up to the budget at most, losses to the least.

    The budget must allow the cheapest of every row; where rounding of the costs leaves nothing, those are chosen.
    """
    divisor = int(np.gcd.reduce(costs.astype(np.int64), axis=None)) or 1
    unit = max(divisor, budget / STEPS)
    steps = np.ceil(costs / unit - 1e-9).astype(int)
    room = math.floor(budget / unit + 1e-9)
    best = np.zeros(room + 1)
    made = np.empty((len(losses), room + 1), int)
    for row, (loss, step) in enumerate(zip(losses, steps, strict=True)):
        tried = np.full((len(loss), room + 1), np.inf)
        for choice, (extra, size) in enumerate(zip(loss, step, strict=True)):
            if size <= room:
                tried[choice, size:] = best[: room + 1 - size] + extra
        made[row], best = tried.argmin(axis=0), tried.min(axis=0)
    if not np.isfinite(best[-1]):
        return [int(i) for i in costs.argmin(axis=1)]
    chosen, left = [], room
    for row in reversed(range(len(losses))):
        chosen.append(int(made[row, left]))
        left -= steps[row, chosen[-1]]
    return chosen[::-1]
