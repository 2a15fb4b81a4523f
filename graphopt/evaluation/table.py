"""The metrics by name, and those of a user's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphopt.errors import GraphoptError, InvalidInput
from graphopt.evaluation.classification import AnomalyAreaUnderCurve, AreaUnderCurve, MacroF1, TopKAccuracy
from graphopt.evaluation.detection import MeanAveragePrecision
from graphopt.evaluation.intervals import ConfidenceInterval
from graphopt.evaluation.metrics import Metric, Observed, Seen
from graphopt.evaluation.values import Cosine, MeanAbsoluteError, MeanSquaredError, SignalToNoise
from graphopt.ir import Array

Function = Callable[[Array, Array], object]
"""From the first output and the labels of all samples to a number, or to one for each of them."""
MetricLike = str | Metric | Function | None

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        TopKAccuracy(1),
        TopKAccuracy(5),
        MacroF1(),
        AreaUnderCurve(),
        AnomalyAreaUnderCurve(),
        MeanSquaredError(),
        MeanAbsoluteError(),
        Cosine(),
        SignalToNoise(),
        MeanAveragePrecision("map50"),
        MeanAveragePrecision("map50-95"),
    )
}
"""Every metric by its name."""


class Custom(Metric):
    """A function of the user's. One that gives a number for each sample is averaged, and has an interval."""

    def __init__(self, function: Function) -> None:
        self.function, self.name = function, getattr(function, "__name__", type(function).__name__)

    def observe(self, batch: Observed) -> Seen:
        return {"output": batch.output(self.name), "label": batch.wanted(self.name)}

    def measured(self, seen: Seen) -> tuple[float, ConfidenceInterval | None]:
        """The function is called once, on all samples."""
        values = self.values(seen)
        return self.score({"value": values}), self.interval({"value": values}) if values.ndim else None

    def score(self, seen: Seen) -> float:
        return float(seen["value"].mean())

    def values(self, seen: Seen) -> Array:
        """A number, or one for each sample. Raises ``InvalidInput`` where the function fails or gives neither."""
        where = f"metric {self.name}"
        try:
            found = np.asarray(self.function(seen["output"], seen["label"]), np.float64)
        except GraphoptError:
            raise
        except Exception as error:
            raise InvalidInput(f"it failed with {type(error).__name__}: {error}", where=where) from error
        if found.shape not in ((), (len(seen["label"]),)):
            what = f"it gave an array of the shape {list(found.shape)} for {len(seen['label'])} samples"
            raise InvalidInput(what, where=where, advice="give a number, or one for each sample")
        return found


def chosen_metric(metric: MetricLike, labels: Array | None, has_reference: bool) -> Metric | None:
    """The metric that is meant; None where there are no labels, and none was asked for.

    Raises ``InvalidInput`` for a name of none, and for one that misses its labels.
    """
    if metric is None:
        if labels is None:
            if has_reference:
                return None
            raise InvalidInput("there is nothing to compare with", advice="give labels, a reference, or both")
        return METRICS["mse" if labels.dtype.kind == "f" else "top1"]
    if isinstance(metric, str):
        if metric not in METRICS:
            advice = f"one of {', '.join(METRICS)}, or a function of your own: my_metrics.py:name"
            raise InvalidInput(f"no metric is called {metric!r}", advice=advice)
        metric = METRICS[metric]
    made = metric if isinstance(metric, Metric) else Custom(metric)
    if labels is None and not (made.may_be_relative and has_reference):
        raise InvalidInput("it needs labels", where=f"metric {made.name}", advice="give labels (--labels y)")
    return made
