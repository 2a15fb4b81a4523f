"""Confidence intervals of 95 %."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
RESAMPLES = 400


@dataclass(frozen=True)
class ConfidenceInterval:
    """From ``low`` to ``high``, and how it was found: ``Wilson`` or ``bootstrap``."""

    low: float
    high: float
    method: str


def wilson(successes: int, trials: int) -> ConfidenceInterval:
    """Of a proportion (Wilson, 1927): right also near 0 and 1, and for few trials."""
    part, spread = successes / trials, Z * Z / trials
    middle = part + spread / 2
    half = Z * math.sqrt(part * (1 - part) / trials + spread / (4 * trials))
    return ConfidenceInterval(
        max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread)), "Wilson"
    )


def bootstrap(score: Callable[[dict[str, Array]], float], seen: dict[str, Array]) -> ConfidenceInterval | None:
    """Percentiles of the score of samples drawn anew with replacement (Efron, 1979), always the same draws.

    None where there is one sample, or where the score is not defined for most of the draws.
    """
    count = len(next(iter(seen.values())))
    if count < 2:
        return None
    rng = np.random.default_rng(0)
    drawn = np.array([score(picked(seen, rng.integers(0, count, count))) for _ in range(RESAMPLES)])
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < RESAMPLES // 2:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return ConfidenceInterval(float(low), float(high), "bootstrap")


def picked(seen: dict[str, Array], places: Array) -> dict[str, Array]:
    return {name: array[places] for name, array in seen.items()}
