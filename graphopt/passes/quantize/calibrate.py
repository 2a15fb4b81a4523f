"""Calibration: run a graph on data and collect histograms of its values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Value
from graphopt.ir.qparams import MIN_SCALE
from graphopt.ops import Softmax
from graphopt.passes.contract import signal_to_noise
from graphopt.passes.data import Data, batch_count, batches
from graphopt.passes.quantize.masks import SeenRange, cut_masks, is_suspect, least_of_rows
from graphopt.passes.quantize.observers import BINS, Histogram
from graphopt.progress import counted

MAX_BINNED = 1 << 16
"""The most elements of one value and batch that a histogram counts, evenly spread; ranges are over all elements."""

NARROW = 1e-4
"""The width of a range, relative to its ends, that float32 still divides into bins."""

SMALLEST = 255 * MIN_SCALE
"""The smallest magnitude whose int8 scale is a normal float32."""


def observe(graph: Graph, values: Sequence[Value], data: Data) -> dict[Value, Histogram]:
    """A histogram of each value over all batches. It reads the data twice: first for the ranges.

    Ranges leave out infinities, which saturate, and numbers that a mask makes so low that softmax gives them no weight
    (``cut_masks``; with masks it reads the data a third time). Raises ``InvalidInput`` for a NaN, with its value and
    place.
    """
    seen = without_masks(graph, seen_of(graph, values, data), data)
    ranges = {v: range_for_bins(s.low, s.high) for v, s in seen.items()}
    counts = {v: np.zeros(BINS, np.int64) for v in values}
    for arrays in counted(runs(graph, values, data), "histograms of batch", batch_count(data, graph)):
        for value, array in zip(values, arrays, strict=True):
            flat = array.ravel()[:: max(1, array.size // MAX_BINNED)]
            counts[value] += np.histogram(flat, BINS, ranges[value])[0]
    return {v: Histogram(*ranges[v], counts[v], seen[v].ends_unseen) for v in values}


def seen_of(graph: Graph, values: Sequence[Value], data: Data) -> dict[Value, SeenRange]:
    """The observed range of each value."""
    seen = dict.fromkeys(values, SeenRange())
    read = counted(runs(graph, values, data), "ranges of batch", batch_count(data, graph))
    for number, arrays in enumerate(read):
        for value, array in zip(values, arrays, strict=True):
            if np.isnan(array.max(initial=-np.inf)):
                raise nan_error(array, number, graph.names[value.node])
            seen[value] |= SeenRange.of(array)
    return seen


def nan_error(array: Array, batch: int, where: str) -> InvalidInput:
    """The error for a value that was NaN on a batch, with the first place."""
    place = [int(i) for i in np.argwhere(np.isnan(array))[0]]
    return InvalidInput(
        "NaN on the calibration data",
        where=where,
        why=f"element {place} of batch {batch} is the first; the float network gives it too",
        advice="leave that sample out, or mend what makes it NaN: a row that is masked throughout, a division by zero",
    )


def without_masks(graph: Graph, seen: Mapping[Value, SeenRange], data: Data) -> dict[Value, SeenRange]:
    """The ranges, without masks before softmax and maxima."""
    axes = {n.inputs[0]: n.op.axis for n in graph.nodes if isinstance(n.op, Softmax)}
    suspects = [v for v in axes if v in seen and is_suspect(seen[v])]
    least = {v: seen[v].high for v in suspects}
    for arrays in runs(graph, suspects, data) if suspects else ():
        for value, array in zip(suspects, arrays, strict=True):
            least[value] = min(least[value], least_of_rows(array, axes[value], seen[value].high))
    return cut_masks(graph, seen, least)


def range_for_bins(low: float, high: float) -> tuple[float, float]:
    """A range wide enough for bins: a range that is too narrow is extended to zero.

    It is [0, 1] for data that is all zero, too small for a float32 scale, or never finite.
    """
    if max(abs(low), abs(high)) < SMALLEST or low > high:
        return 0.0, 1.0
    if high - low > NARROW * max(abs(low), abs(high)):
        return low, high
    return min(low, 0.0), max(high, 0.0)


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
