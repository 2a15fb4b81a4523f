"""Metrics of outputs that are values: how far they are from those wanted."""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.metrics import Metric, Observed, Seen, alike, finite_or_refused
from graphopt.ir import Array

TINY = 1e-300


class Values(Metric):
    """What all of them share: the first output and the values wanted, ``[n, values]`` in float64."""

    may_be_relative = True

    def pair(self, batch: Observed) -> tuple[Array, Array]:
        got = finite_or_refused(batch.output(self.name), batch, self.name)
        wanted = batch.wanted(self.name)
        if not alike(wanted, got) or wanted.dtype.kind not in "iufb":
            what = f"labels {wanted.dtype}{list(wanted.shape)} for an output of the shape {list(got.shape)}"
            raise InvalidInput(what, where=f"metric {self.name}", advice="a number for each of the output is needed")
        if not np.isfinite(wanted).all():
            raise InvalidInput("the labels are not all finite", where=f"metric {self.name}")
        return got.reshape(len(got), -1), wanted.astype(np.float64).reshape(len(got), -1)


class MeanSquaredError(Values):
    name = "mse"
    better = "lower"

    def observe(self, batch: Observed) -> Seen:
        got, wanted = self.pair(batch)
        return {"loss": np.square(got - wanted).mean(1)}

    def score(self, seen: Seen) -> float:
        return float(seen["loss"].mean())


class MeanAbsoluteError(Values):
    name = "mae"
    better = "lower"

    def observe(self, batch: Observed) -> Seen:
        got, wanted = self.pair(batch)
        return {"loss": np.abs(got - wanted).mean(1)}

    def score(self, seen: Seen) -> float:
        return float(seen["loss"].mean())


class Cosine(Values):
    """The cosine of the angle between output and wanted values, averaged over the samples; of two zeros it is 1."""

    name = "cosine"

    def observe(self, batch: Observed) -> Seen:
        return {"loss": 1 - cosines(*self.pair(batch))}

    def score(self, seen: Seen) -> float:
        return float(1 - seen["loss"].mean())


class SignalToNoise(Values):
    """The power of the wanted values over that of the error, over all samples, in decibels; infinite without error."""

    name = "snr"
    unit = "dB"

    def observe(self, batch: Observed) -> Seen:
        got, wanted = self.pair(batch)
        noise, signal = np.square(got - wanted).sum(1), np.square(wanted).sum(1)
        return {"noise": noise, "signal": signal, "loss": noise / np.maximum(signal, TINY)}

    def score(self, seen: Seen) -> float:
        return decibels(float(seen["signal"].sum()), float(seen["noise"].sum()))


def decibels(signal: float, noise: float) -> float:
    return float(10 * np.log10(max(signal, TINY) / noise)) if noise else float("inf")


def cosines(got: Array, wanted: Array) -> Array:
    """The cosine of each pair of rows: 1 of two that are zero, 0 of one that is."""
    norms = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    same = ~(got.any(1) | wanted.any(1))
    return np.asarray(np.where(same, 1.0, (got * wanted).sum(1) / np.maximum(norms, TINY)))
