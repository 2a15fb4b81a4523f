"""Calibration: run a graph on data and gather histograms of its values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Value
from graphopt.passes.contract import signal_to_noise
from graphopt.passes.data import Data, batches
from graphopt.passes.quantize.observers import BINS, Histogram

MAX_BINNED = 1 << 16
"""Elements of one value and batch that a histogram takes in, evenly spread; the range sees all."""

NARROW = 1e-4
"""The width of a range, relative to its ends, that float32 still divides into bins."""


def observe(graph: Graph, values: Sequence[Value], data: Data) -> dict[Value, Histogram]:
    """A histogram of each value over all batches, in two readings of the data: first the ranges.

    Raises ``InvalidInput`` naming a value that was NaN or infinite.
    """
    ranges = {v: [np.inf, -np.inf] for v in values}
    for arrays in runs(graph, values, data):
        for value, array in zip(values, arrays, strict=True):
            low, high = float(array.min(initial=np.inf)), float(array.max(initial=-np.inf))
            if not np.isfinite([low, high]).all():
                raise InvalidInput("NaN or infinity on the calibration data", where=graph.names[value.node])
            ranges[value] = [min(ranges[value][0], low), max(ranges[value][1], high)]
    counts = {v: np.zeros(BINS, np.int64) for v in values}
    for arrays in runs(graph, values, data):
        for value, array in zip(values, arrays, strict=True):
            flat = array.ravel()[:: max(1, array.size // MAX_BINNED)]
            counts[value] += np.histogram(flat, BINS, widened(*ranges[value]))[0]
    return {v: Histogram(*widened(*ranges[v]), counts[v]) for v in values}


def widened(low: float, high: float) -> tuple[float, float]:
    """A range that bins fit into: zero is in it where it would be next to nothing."""
    if high - low > NARROW * max(abs(low), abs(high)):
        return low, high
    return min(low, 0.0), max(high, 0.0) if high or low else 1.0


def runs(graph: Graph, values: Sequence[Value], data: Data) -> Iterator[tuple[Array, ...]]:
    """The arrays that values take, batch by batch."""
    observed = replace(graph, outputs=tuple(values), output_names=())
    for batch in batches(data, graph):
        yield observed(**batch)


def joined(batches: Iterable[tuple[Array, ...]]) -> list[Array]:
    """Each value flat over all batches."""
    return [np.concatenate([a.ravel() for a in arrays]) for arrays in zip(*batches, strict=True)]


def worst_sqnr(got: Iterable[Array], wanted: Iterable[Array]) -> float:
    """The signal-to-noise ratio of the worst of several values, in decibels."""
    return min(signal_to_noise(g, w) for g, w in zip(got, wanted, strict=True))
