"""Observers: from the histogram of a value, the range that its integers should cover.

``percentile`` cuts both tails. ``mse`` takes the range with the least mean squared error, ``entropy`` the range with
the least Kullback-Leibler divergence (Migacz, 8-bit inference with TensorRT, 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, integer_limits

BINS = 2048
SHRINKS = np.linspace(1.0, 0.3, 71)
"""The fractions of the whole range that the searches try."""
TAIL = 1e-4
"""The fraction of all elements that ``percentile`` leaves out, on both sides together."""

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Histogram:
    """``counts`` [BINS] of elements in equal bins over [low, high].

    ``ends_unseen`` says that the low end stands for a mask, and for everything else that a softmax does not see.
    """

    low: float
    high: float
    counts: Array
    ends_unseen: bool = False

    @property
    def centres(self) -> Array:
        width = (self.high - self.low) / len(self.counts)
        return np.asarray(self.low + width * (np.arange(len(self.counts)) + 0.5))

    @property
    def is_zero(self) -> bool:
        """Whether all elements are in the bin at zero at the lower end, as for a value that is always zero."""
        return self.low == 0 and bool(self.counts[0] == self.counts.sum())

    @property
    def mean_magnitude(self) -> float:
        """The mean of the absolute values, to half a bin."""
        return float((np.abs(self.centres) * self.counts).sum() / max(self.counts.sum(), 1))


def minmax(histogram: Histogram, bits: int) -> Range:
    return histogram.low, histogram.high


def percentile(histogram: Histogram, bits: int) -> Range:
    part = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    inside = histogram.centres[(part >= TAIL / 2) & (part <= 1 - TAIL / 2)]
    return (float(inside[0]), float(inside[-1])) if len(inside) > 1 else (histogram.low, histogram.high)


def mse(histogram: Histogram, bits: int) -> Range:
    """The range with the least squared error over the histogram: rounding inside the range, clipping outside."""
    x, weight = histogram.centres, histogram.counts

    def error(low: float, high: float) -> float:
        least, most = integer_limits(bits)
        step = max((high - low) / (most - least), 1e-30)
        rounded = np.clip(np.rint(x / step), np.rint(low / step), np.rint(high / step)) * step
        return float(((rounded - x) ** 2 * weight).sum())

    return best_range(histogram, error)


def entropy(histogram: Histogram, bits: int) -> Range:
    """The range with the least divergence between the clipped distribution and its quantized form."""
    x, weight = histogram.centres, histogram.counts.astype(np.float64)

    def divergence(low: float, high: float) -> float:
        inside = (x >= low) & (x <= high)
        reference = np.where(inside, weight, 0.0)
        reference[np.argmax(inside)] += weight[x < low].sum()
        reference[len(x) - 1 - np.argmax(inside[::-1])] += weight[x > high].sum()
        levels = integer_limits(bits)[1] - integer_limits(bits)[0] + 1
        level = np.clip(((x - low) / max(high - low, 1e-30) * levels).astype(int), 0, levels - 1)
        filled = inside & (weight > 0)
        mass = np.bincount(level[inside], weight[inside], levels)
        number = np.maximum(np.bincount(level[filled], minlength=levels), 1)
        modelled = np.where(filled, (mass / number)[level], 0.0)
        both = (reference > 0) & (modelled > 0)
        p, q = reference / max(reference.sum(), 1), modelled / max(modelled.sum(), 1)
        missed = reference[(reference > 0) & (modelled == 0)].sum() / max(reference.sum(), 1)
        return float((p[both] * np.log(p[both] / q[both])).sum() + missed * np.log(1e9))

    return best_range(histogram, divergence)


def best_range(histogram: Histogram, error: Callable[[float, float], float]) -> Range:
    """The range with the least error, found by shrinking each side toward zero, one after the other."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    best = min((error(low, high * s), s) for s in SHRINKS)[1] if high > 0 else 1.0
    high *= best
    least = min((error(low * s, high), s) for s in SHRINKS)[1] if low < 0 else 1.0
    return low * least, high


OBSERVERS: dict[str, Callable[[Histogram, int], Range]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}
"""The functions ``observer(histogram, bits) -> (low, high)`` by name."""
