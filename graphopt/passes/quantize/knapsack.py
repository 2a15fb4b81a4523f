"""The multiple-choice knapsack problem, by dynamic programming."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array

STEPS = 10_000
"""Into which a budget is divided; costs are rounded up to them, so that the budget always holds."""


def choose_cheapest(losses: Array, costs: Array, budget: float) -> list[int]:
    """For each of n rows one of its m choices, so that costs [n, m] add up to the budget at most, losses to the least.

    The budget must allow the cheapest of every row; where rounding of the costs leaves nothing, those are chosen.
    """
    unit = budget / STEPS
    steps = np.ceil(costs / unit - 1e-9).astype(int) if budget else costs.astype(int)
    best = np.zeros(STEPS + 1)
    made = np.empty((len(losses), STEPS + 1), int)
    for row, (loss, step) in enumerate(zip(losses, steps, strict=True)):
        tried = np.full((len(loss), STEPS + 1), np.inf)
        for choice, (extra, size) in enumerate(zip(loss, step, strict=True)):
            if size <= STEPS:
                tried[choice, size:] = best[: STEPS + 1 - size] + extra
        made[row], best = tried.argmin(axis=0), tried.min(axis=0)
    if not np.isfinite(best[-1]):
        return [int(i) for i in costs.argmin(axis=1)]
    chosen, left = [], STEPS
    for row in reversed(range(len(losses))):
        chosen.append(int(made[row, left]))
        left -= steps[row, chosen[-1]]
    return chosen[::-1]
