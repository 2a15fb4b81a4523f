"""Mean average precision, as COCO defines it.

Detections of a class, the highest score first, each take the box of that class in their image that they overlap most of
those left, if that is enough. The precision at a recall is the highest at that recall or a higher one; the average
is over 101 recalls, the mean over the classes that occur (and for mAP50-95 over ten overlaps).
"""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.detection.boxes import overlaps, thinned
from graphopt.evaluation.detection.heads import Anchors, decode
from graphopt.evaluation.detection.labels import truth
from graphopt.evaluation.intervals import ConfidenceInterval
from graphopt.evaluation.metrics import Metric, Observed, Seen, finite_or_refused
from graphopt.ir import Array

OVERLAPS = {"map50": np.array([0.5]), "map50-95": np.linspace(0.5, 0.95, 10)}
RECALLS = np.linspace(0, 1, 101)
MOST = 100
"""Detections of a class in an image, as COCO counts."""
CANDIDATES = 3000
"""Of an image, before they are thinned out."""
CONFIDENT = 0.25
"""A false detection with a higher score makes an image one of the worst."""
MOST_DRAWN = 100_000
"""Detections; of more no interval is drawn, which would take minutes."""


class MeanAveragePrecision(Metric):
    """mAP50 or mAP50-95 of a detector with a YOLO-type head.

    Labels are ``[images, boxes, 5]``: class, centre x and y, width and height as parts of the image's, rows of class -1
    being padding. Candidates below ``score`` are left out, and those that overlap a better one of their class by more
    than ``overlap``.
    """

    def __init__(
        self,
        name: str = "map50",
        head: str | None = None,
        anchors: Anchors = (),
        score: float = 0.001,
        overlap: float = 0.7,
    ) -> None:
        if name not in OVERLAPS:
            raise InvalidInput(f"no metric is called {name!r}", advice=f"one of {', '.join(OVERLAPS)}")
        self.name, self.head, self.anchors = name, head, anchors
        self.least, self.overlap = score, overlap

    def observe(self, batch: Observed) -> Seen:
        labels = batch.wanted(self.name)
        if labels.ndim != 3 or labels.shape[2] != 5:
            what = f"labels of the shape {list(labels.shape)}, [images, boxes, 5] needed"
            raise InvalidInput(what, where=f"metric {self.name}")
        outputs = [finite_or_refused(y, batch, self.name) for y in batch.outputs]
        size = image_size(batch, self.name)
        boxes, scores = decode(outputs, size, self.head, self.anchors)
        found, wanted = np.empty(len(labels), object), np.empty(len(labels), object)
        for image, place in enumerate(batch.places):
            kinds, right = truth(labels[image], size, scores.shape[2], int(place))
            own = self.detections(boxes[image], scores[image])
            found[image], wanted[image] = matched(*own, kinds, right, OVERLAPS[self.name]), kinds
        loss = [mistakes(f, w) for f, w in zip(found, wanted, strict=True)]
        return {"found": found, "wanted": wanted, "loss": np.array(loss, np.float64)}

    def detections(self, boxes: Array, scores: Array) -> tuple[Array, Array, Array]:
        """Of an image the boxes that stay, their scores and classes, the highest score first."""
        at, kinds = np.nonzero(scores >= self.least)
        own = scores[at, kinds]
        best = np.argsort(-own, kind="stable")[:CANDIDATES]
        at, kinds, own = at[best], kinds[best], own[best]
        kept = thinned(boxes[at], own, kinds, self.overlap, MOST)
        return boxes[at][kept], own[kept], kinds[kept]

    def score(self, seen: Seen) -> float:
        found, wanted = np.concatenate(list(seen["found"])), np.concatenate(list(seen["wanted"]))
        averages = [average_precision(found[found[:, 0] == k], int((wanted == k).sum())) for k in np.unique(wanted)]
        return float(np.mean(averages)) if averages else float("nan")

    def interval(self, seen: Seen) -> ConfidenceInterval | None:
        return super().interval(seen) if sum(map(len, seen["found"])) <= MOST_DRAWN else None


def image_size(batch: Observed, metric: str) -> tuple[int, int]:
    """Height and width of the images, the one input ``[N, channels, height, width]``."""
    for array in batch.inputs.values():
        if array.ndim == 4:
            return array.shape[2], array.shape[3]
    raise InvalidInput("no input is an image [N, channels, height, width]", where=f"metric {metric}")


def matched(boxes: Array, scores: Array, kinds: Array, wanted: Array, right: Array, least: Array) -> Array:
    """Detections of an image as rows: class, score, and for each overlap that is asked for whether it takes a box.

    Boxes, scores and classes are in the order of falling scores; ``wanted`` are the classes of the boxes ``right``.
    """
    rows = []
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)[:MOST]
        close = overlaps(boxes[own], right[wanted == kind])
        hits = np.stack([takes(close, limit) for limit in least], 1)
        rows.append(np.column_stack([np.full(len(own), kind), scores[own], hits]))
    return np.concatenate(rows) if rows else np.zeros((0, 2 + len(least)))


def takes(close: Array, least: float) -> Array:
    """Which detections, in order, take a box: the one that they overlap most of those left, if by so much."""
    free = np.ones(close.shape[1], bool)
    taken = np.zeros(len(close), bool)
    for i, row in enumerate(close):
        left = np.where(free, row, -1)
        best = len(left) - 1 - int(left[::-1].argmax()) if len(left) else -1  # of equals COCO takes the last
        if best >= 0 and left[best] >= least:
            taken[i], free[best] = True, False
    return taken


def average_precision(found: Array, wanted: int) -> float:
    """Of one class, averaged over the overlaps: ``found`` has rows as ``matched`` gives them, of all images."""
    hits = found[np.argsort(-found[:, 1], kind="stable"), 2:]
    if not len(hits):
        return 0.0
    right = hits.cumsum(0)
    recall, precision = right / wanted, right / np.arange(1, len(hits) + 1)[:, None]
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    at_recall = [np.append(high, 0.0)[np.searchsorted(r, RECALLS)] for r, high in zip(recall.T, highest.T, strict=True)]
    return float(np.mean(at_recall))


def mistakes(found: Array, wanted: Array) -> float:
    """Boxes of an image that nothing found at the least overlap, and confident detections of what is not there."""
    hits = found[:, 2] > 0
    return len(wanted) - int(hits.sum()) + int((~hits & (found[:, 1] >= CONFIDENT)).sum())
