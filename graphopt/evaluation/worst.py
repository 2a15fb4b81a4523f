"""Which samples a model does worst on, and which classes it takes for which."""

from __future__ import annotations

import numpy as np

from graphopt.evaluation.metrics import Seen
from graphopt.evaluation.result import Confusion, Sample
from graphopt.ir import Array

MOST_CLASSES = 100
"""Of a confusion matrix; of more it says little."""


def worst_samples(seen: Seen, places: Array, count: int) -> tuple[Sample, ...]:
    """Those of the highest loss, the worst first; none where there is no loss but zero."""
    if "loss" not in seen:
        return ()
    loss = np.where(np.isnan(seen["loss"]), np.inf, seen["loss"])
    order = np.argsort(-loss, kind="stable")[: max(0, count)]
    classes = "label" in seen and "predicted" in seen and seen["label"].ndim == 1
    named = [(int(seen["label"][i]), int(seen["predicted"][i])) if classes else (None, None) for i in order]
    rows = zip(order, named, strict=True)
    return tuple(Sample(int(places[i]), float(loss[i]), *names) for i, names in rows if loss[i] > 0)


def confusion_of(seen: Seen) -> Confusion | None:
    """The matrix, for metrics of classes; samples without a predicted class, or with an ignored label, are left out."""
    if not {"label", "predicted"} <= seen.keys():
        return None
    label, predicted = (seen[name].ravel() for name in ("label", "predicted"))
    counted = (label >= 0) & (predicted >= 0)
    label, predicted = label[counted], predicted[counted]
    size = int(max(label.max(initial=0), predicted.max(initial=0))) + 1
    if size > MOST_CLASSES:
        return None
    matrix = np.zeros((size, size), np.int64)
    np.add.at(matrix, (label, predicted), 1)
    return Confusion(tuple(tuple(row) for row in matrix.tolist()))
