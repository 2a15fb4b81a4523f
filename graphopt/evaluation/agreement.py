"""How far the outputs of a model are from those of a reference."""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.intervals import wilson
from graphopt.evaluation.metrics import Seen
from graphopt.evaluation.result import Agreement, Score
from graphopt.evaluation.values import TINY, cosines, decibels
from graphopt.evaluation.worst import worst_samples
from graphopt.ir import Array


def compared(outputs: tuple[Array, ...], wanted: tuple[Array, ...], count: int) -> Seen:
    """What is kept of a batch: of each label the power of signal and error over all outputs, and whether the class is
    the same. Raises ``InvalidInput`` for outputs of other shapes.
    """
    shapes = [[list(y.shape) for y in ys] for ys in (outputs, wanted)]
    if shapes[0] != shapes[1]:
        what = f"outputs of the shapes {shapes[0]}, the reference has {shapes[1]}"
        raise InvalidInput(what, where="against", advice="compare models with the same outputs")
    got, want = (np.concatenate([y.reshape(count, -1).astype(np.float64) for y in ys], 1) for ys in (outputs, wanted))
    with np.errstate(invalid="ignore"):
        error = np.where(got == want, 0.0, got - want)
    noise, signal = np.square(error).sum(1), np.square(want).sum(1)
    kept = {"noise": noise, "signal": signal, "loss": noise / np.maximum(signal, TINY), "cosine": cosines(got, want)}
    kept["error"] = np.abs(error).max(1, initial=0.0)
    first = outputs[0]
    if first.dtype.kind == "f" and len(first) == count and 1 < first[0].size == max(first.shape[1:]):
        mine, theirs = (ys[0].reshape(count, -1).argmax(1) for ys in (outputs, wanted))
        kept |= {"same": mine == theirs, "predicted": mine, "label": theirs}
    return kept


def agreement(model: str, engine: str, seen: Seen, places: Array, score: Score | None, worst: int) -> Agreement:
    """The record of what was compared."""
    same = None
    if "same" in seen:
        count, right = len(places), int(seen["same"].sum())
        limits = wilson(right, count)
        same = Score("same class", right / count, count, limits.low, limits.high, limits.method, "%")
    sqnr = decibels(float(seen["signal"].sum()), float(seen["noise"].sum()))
    largest = float(seen["error"].max())
    samples = worst_samples(seen, places, worst)
    return Agreement(model, engine, same, float(seen["cosine"].mean()), sqnr, largest, score, samples)
