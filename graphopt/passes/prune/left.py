"""Measure what pruning has left of the outputs: on data, or on random inputs if there is none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphopt.ir import Array, Batch, Graph, Value, bind_batch
from graphopt.ops.macs import count_macs
from graphopt.passes.contract import random_inputs, signal_to_noise
from graphopt.passes.data import CHUNK, Data, batches, inputs_of

MOST, LEAST, WORK = 128, 8, 10**10
"""The most and the fewest samples, and the multiply-accumulates to stay under: the figure is a warning only."""

ENOUGH = 10.0
"""Decibels; with less, the error is more than a third of the variation of the outputs."""


@dataclass(frozen=True)
class SignalLeft:
    """How close the outputs of two graphs are.

    ``decibels`` is the signal-to-noise ratio of the worst output, ``output``. On data, the signal is the variation of
    the output: at 0 dB it is worth no more than its mean. Random inputs hardly move the outputs of a trained
    network, so for them the whole output is the signal, and the figure says little. ``same_class`` is the fraction of
    samples that keep their class, if the first output has one number per class (``[N, classes]``).
    """

    output: str
    decibels: float
    samples: int
    on_data: bool
    same_class: float | None = None

    @property
    def enough(self) -> bool:
        return self.decibels >= ENOUGH

    @property
    def changed(self) -> bool:
        return self.decibels != float("inf")

    def __str__(self) -> str:
        signal, source = ("its variation", "samples") if self.on_data else ("the output", "random inputs")
        text = f"{self.decibels:.1f} dB of signal to noise are left of {signal}" if self.changed else "unchanged"
        text += f", on {self.samples} {source}"
        if self.same_class is not None:
            text += f"; {self.same_class:.1%} of them keep their class"
        return text


def signal_left(before: Graph, after: Graph, data: Data | None = None) -> SignalLeft:
    """How close the outputs of ``after`` are to those of ``before``, on the first samples of the data."""
    drawn = list(measured(before, data))
    runs = [tuple(g(**inputs_of(before, x)) for g in (before, after)) for x in drawn]
    wanted, got = (
        [joined(value, [run[i][at] for run in runs]) for at, value in enumerate(before.outputs)] for i in (0, 1)
    )
    ratios = [decibels(g, w, centred=data is not None) for g, w in zip(got, wanted, strict=True)]
    worst = int(np.argmin(ratios))
    found = SignalLeft(before.output_names[worst], ratios[worst], len(wanted[0]), data is not None)
    if data is None or wanted[0].ndim != 2 or wanted[0].shape[1] < 2:
        return found
    old, new = wanted[0].argmax(1), got[0].argmax(1)
    return replace(found, same_class=float((old == new).mean()))


def measured(graph: Graph, data: Data | None) -> Iterator[dict[str, Array]]:
    """Batches until there are enough samples."""
    most = CHUNK if data is None else MOST
    left = min(most, max(LEAST, WORK // max(count_macs(graph), 1)))
    for batch in random_batches(graph) if data is None else batches(data, graph):
        yield batch
        left -= max((len(a) for a in batch.values() if np.ndim(a)), default=1)
        if left <= 0:
            return


def random_batches(graph: Graph) -> Iterator[dict[str, Array]]:
    bound = bind_batch(graph, LEAST)
    return (random_inputs(bound, seed) for seed in itertools.count())


def joined(output: Value, runs: Sequence[Array]) -> Array:
    """The results of several runs for one output, in float64, with the axis of samples first."""
    axis = next((i for i, d in enumerate(output.type.shape) if isinstance(d, Batch)), 0)
    return np.moveaxis(np.concatenate([np.atleast_1d(y) for y in runs], axis), axis, 0).astype(np.float64)


def decibels(got: Array, wanted: Array, centred: bool) -> float:
    """The signal-to-noise ratio, of the variation if ``centred`` and anything varies; -inf if ``got`` is not finite."""
    if not np.isfinite(got).all():
        return float("-inf")
    mean = wanted.mean(0) if centred and np.ptp(wanted, 0).any() else 0.0
    return signal_to_noise(got - mean, wanted - mean)
