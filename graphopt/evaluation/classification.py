"""Metrics of classes: of a sample, or of every step of a sequence."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.stats import rankdata

from graphopt.errors import InvalidInput
from graphopt.evaluation.intervals import ConfidenceInterval, bootstrap, wilson
from graphopt.evaluation.metrics import Metric, Observed, Seen, alike, finite_or_refused
from graphopt.ir import Array

IGNORED = -100
"""The label of a step of a sequence that is padding, as PyTorch has it."""
NOT_FINITE = -1
"""What is predicted where an output is NaN or infinite: no class, which is wrong."""


class Classes(Metric):
    """What all metrics of classes keep: the label and the predicted class, and the cross entropy as loss."""

    def observe(self, batch: Observed) -> Seen:
        output, labels = batch.output(self.name), as_classes(batch.wanted(self.name), self.name)
        if output.dtype.kind in "iub" and output.size == labels.size:
            predicted = output.reshape(labels.shape).astype(np.int64)
            check_range(labels, max(int(predicted.max()), int(labels.max())) + 1, batch.places, self.name)
            return {"label": labels, "predicted": predicted, "loss": mean(predicted != labels, labels != IGNORED)}
        scores = class_scores(output, labels.shape, self.name)
        check_range(labels, scores.shape[-1], batch.places, self.name)
        finite = np.asarray(np.isfinite(scores).all(-1))
        predicted = np.where(finite, scores.argmax(-1), NOT_FINITE)
        known = np.where(labels == IGNORED, 0, labels)
        loss = mean(cross_entropy(scores, known), labels != IGNORED)
        return {"label": labels, "predicted": predicted, "loss": loss, **self.more(scores, known, finite)}

    def more(self, scores: Array, labels: Array, finite: Array) -> Seen:
        """What else a metric keeps of the scores ``[..., classes]``."""
        return {}


class TopKAccuracy(Classes):
    """The part of the samples, or steps, whose label is among the k highest scores; of equals the first is higher."""

    unit = "%"

    def __init__(self, k: int) -> None:
        self.k, self.name = k, f"top{k}"

    def more(self, scores: Array, labels: Array, finite: Array) -> Seen:
        classes = scores.shape[-1]
        if 1 < self.k >= classes:
            what = f"with {classes} classes the right one is always among {self.k}"
            raise InvalidInput(what, where=f"metric {self.name}", advice="use top1")
        own = np.take_along_axis(scores, labels[..., None], -1)
        before = (scores > own) | ((scores == own) & (np.arange(classes) < labels[..., None]))
        return {"right": (before.sum(-1) < self.k) & finite}

    def right(self, seen: Seen) -> Array:
        if "right" in seen:
            return seen["right"]
        if self.k > 1:
            what = "the output is a class, not a score for each"
            raise InvalidInput(what, where=f"metric {self.name}", advice="use top1")
        return np.asarray(seen["label"] == seen["predicted"])

    def score(self, seen: Seen) -> float:
        counted = seen["label"] != IGNORED
        return float(self.right(seen)[counted].mean()) if counted.any() else float("nan")

    def interval(self, seen: Seen) -> ConfidenceInterval | None:
        """Wilson's for samples; steps of one sequence are not independent, so there sequences are drawn anew."""
        if seen["label"].ndim == 1:
            return wilson(int(self.right(seen).sum()), len(seen["label"]))
        counted = (seen["label"] != IGNORED).reshape(len(seen["label"]), -1)
        right = counted & self.right(seen).reshape(counted.shape)
        kept = {"right": right.sum(1), "counted": counted.sum(1)}
        return bootstrap(lambda drawn: drawn["right"].sum() / max(1, drawn["counted"].sum()), kept)


class MacroF1(Classes):
    """The F1 score of each class, harmonic mean of precision and recall, averaged over the classes that occur."""

    name = "f1"

    def score(self, seen: Seen) -> float:
        counted = seen["label"] != IGNORED
        label, predicted = seen["label"][counted], seen["predicted"][counted]
        size = int(max(label.max(initial=0), predicted.max(initial=0))) + 1
        right = np.bincount(label[label == predicted], minlength=size)
        both = np.bincount(label, minlength=size) + np.bincount(predicted[predicted != NOT_FINITE], minlength=size)
        there = both > 0
        return float((2 * right[there] / both[there]).mean()) if there.any() else float("nan")


class AreaUnderCurve(Metric):
    """The area under the ROC curve: of one score, of the second of two, or the mean over classes against the rest.

    Of several classes, outputs that are no probabilities are made such by a softmax.
    """

    name = "auc"

    def observe(self, batch: Observed) -> Seen:
        output = finite_or_refused(batch.output(self.name), batch, self.name)
        labels = as_classes(batch.wanted(self.name), self.name)
        if labels.ndim != 1:
            what = f"labels of the shape {list(labels.shape)}"
            raise InvalidInput(what, where=f"metric {self.name}", advice="give one for each sample")
        scores = output.reshape(len(labels), -1)
        check_range(labels, max(2, scores.shape[1]), batch.places, self.name)
        return {"label": labels, "scores": scores}

    def measured(self, seen: Seen) -> tuple[float, ConfidenceInterval | None]:
        """Whether the scores are probabilities is decided once, by all of them."""
        scores = seen["scores"]
        return super().measured({**seen, "scores": scores if scores.shape[1] == 1 else probabilities(scores)})

    def score(self, seen: Seen) -> float:
        label, scores = seen["label"], seen["scores"]
        if scores.shape[1] <= 2:
            return float(areas(label[:, None] == 1, scores[:, -1:])[0])
        found = areas(label[:, None] == np.arange(scores.shape[1]), scores)
        return float(found[~np.isnan(found)].mean()) if np.isfinite(found).any() else float("nan")


class AnomalyAreaUnderCurve(Metric):
    """The area under the ROC curve of the mean squared error of reconstruction: labels other than 0 mark anomalies.

    A label may be of several consecutive samples, the windows of a clip: the score of a clip is their mean.
    """

    name = "anomaly-auc"
    windows: ClassVar[bool] = True

    def observe(self, batch: Observed) -> Seen:
        labels = as_classes(batch.wanted(self.name), self.name)
        got = finite_or_refused(batch.outputs[0], batch, self.name)
        given = next((x for x in batch.inputs.values() if alike(x, got)), None)
        if given is None or labels.ndim != 1:
            what = f"no input has the shape of the first output, {list(got.shape)}"
            advice = "the net must give back its input; for one score a sample use auc"
            raise InvalidInput(what, where=f"metric {self.name}", advice=advice)
        errors = np.square(got.reshape(len(labels), -1) - given.reshape(len(labels), -1)).mean(1)
        return {"label": labels != 0, "error": errors}

    def score(self, seen: Seen) -> float:
        return float(areas(seen["label"][:, None], seen["error"][:, None])[0])


def areas(positive: Array, scores: Array) -> Array:
    """The area under the ROC curve of each column, by the ranks of its scores (Mann and Whitney, 1947).

    It is the part of the pairs of a positive and a negative in which the positive scores higher, equal ones counting
    half; NaN where one of the two is missing.
    """
    count = positive.sum(0)
    above = np.where(positive, rankdata(scores, axis=0), 0).sum(0) - count * (count + 1) / 2
    pairs = count * (len(positive) - count)
    return np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)


def as_classes(labels: Array, metric: str) -> Array:
    """Labels as int64, ``[n]`` or ``[n, steps]``; raises ``InvalidInput`` for numbers that are not whole."""
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        advice = "use mse for numbers, top1 for classes"
        raise InvalidInput("the labels are no classes: some are not whole", where=f"metric {metric}", advice=advice)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return labels.astype(np.int64)


def class_scores(output: Array, labels: tuple[int, ...], metric: str) -> Array:
    """The output as ``[*labels, classes]``. Axes of one element are left out where a sample has one label."""
    if len(labels) == 1:
        if output.ndim > 2 and output[0].size == max(output.shape[1:]):
            output = output.reshape(len(output), -1)
        if output.ndim == 2 and output.shape[1] > 1 and output.dtype.kind in "fiu":
            return output.astype(np.float64)
    fitting = {axis for axis in (1, output.ndim - 1) if output.shape[:axis] + output.shape[axis + 1 :] == labels}
    if len(fitting) == 1 and len(labels) > 1:
        return np.moveaxis(output, fitting.pop(), -1).astype(np.float64)
    why = "it has one number a sample" if len(labels) == 1 and output[0].size == 1 else None
    why = "either of two axes may be that of the classes" if len(fitting) > 1 else why
    what = f"an output {output.dtype}{list(output.shape)} is no score for each class of labels {list(labels)}"
    advice = "one score a class is needed, [N, classes]; for one score a sample use auc, else a metric of your own"
    raise InvalidInput(what, where=f"metric {metric}", why=why, advice=advice)


def check_range(labels: Array, classes: int, places: Array, metric: str) -> None:
    """Raise ``InvalidInput`` for a label that is no class."""
    wrong = (labels < 0) | (labels >= classes)
    if labels.ndim > 1:
        wrong &= labels != IGNORED
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        what = f"the label of sample {places[at[0]]} is {labels[at]}"
        raise InvalidInput(what, where=f"metric {metric}", why=f"the classes are 0 to {classes - 1}")


def mean(values: Array, counted: Array) -> Array:
    """The mean of the counted values of each sample; 0 where there are none."""
    axes = tuple(range(1, values.ndim))
    total = np.where(counted, values, 0).sum(axes)
    return np.asarray(total / np.maximum(counted.sum(axes), 1), np.float64)


def probabilities(scores: Array) -> Array:
    """Scores ``[..., classes]`` as they are if they are probabilities, quantized ones too; else their softmax."""
    finite = scores[np.isfinite(scores).all(-1)]
    if finite.size and finite.min() >= 0 and np.abs(finite.sum(-1) - 1).max() < 0.05:
        return scores
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def cross_entropy(scores: Array, labels: Array) -> Array:
    """Of each label; infinite where a score is not finite."""
    with np.errstate(all="ignore"):
        own = np.take_along_axis(probabilities(scores), labels[..., None], -1)[..., 0]
        return np.asarray(np.where(np.isfinite(own), -np.log(np.maximum(own, 1e-30)), np.inf))
