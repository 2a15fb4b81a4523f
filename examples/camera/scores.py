"""How good detectors are: mAP50 and mAP50-95 of one, of the mean over seeds, and of pairs on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

import graphopt
from examples.camera.cells import INPUT, Cells
from graphopt.evaluation import Observed
from graphopt.evaluation.detection import MeanAveragePrecision
from graphopt.evaluation.intervals import ConfidenceInterval, bootstrap
from graphopt.ir import Array, Graph

OVERLAP = 0.6
"""Detections of a class that overlap a better one by more are left out."""
METRICS = {name: MeanAveragePrecision(name, overlap=OVERLAP) for name in ("map50", "map50-95")}

Seen = Mapping[str, Mapping[str, Array]]
"""What each metric keeps of the detections of every picture."""


def seen(graph: Graph, cells: Cells) -> Seen:
    """A graph run on pictures, by PyTorch: a batch takes it a tenth of the evaluator's time."""
    outputs = graphopt.to_torch(graph).evaluate([cells.images])
    batch = Observed(outputs, cells.boxes, {INPUT: cells.images}, np.arange(len(cells.images)))
    return {name: metric.observe(batch) for name, metric in METRICS.items()}


def scores(graph: Graph, cells: Cells) -> dict[str, float]:
    """Both metrics of a graph."""
    return {name: METRICS[name].score(dict(kept)) for name, kept in seen(graph, cells).items()}


def mean(name: str, seeds: Sequence[Seen]) -> tuple[float, ConfidenceInterval | None]:
    """A metric, averaged over nets that saw the same pictures, and its interval: pictures are drawn anew."""
    return measured(name, [seeds], lambda means: means[0])


def ratio(name: str, seeds: Sequence[Seen], of: Sequence[Seen]) -> tuple[float, ConfidenceInterval | None]:
    """The mean of a metric as a part of that of other nets, and its interval."""
    return measured(name, [seeds, of], lambda means: means[0] / means[1])


def measured(
    name: str, groups: Sequence[Sequence[Seen]], result: Callable[[list[float]], float]
) -> tuple[float, ConfidenceInterval | None]:
    """A number from the mean score of each group, all of the same pictures, and its bootstrap interval."""
    found = {f"{g}-{i}": own[name]["found"] for g, group in enumerate(groups) for i, own in enumerate(group)}

    def score(drawn: Mapping[str, Array]) -> float:
        alone = {key: METRICS[name].score({"found": drawn[key], "wanted": drawn["wanted"]}) for key in found}
        return result([float(np.mean([alone[f"{g}-{i}"] for i in range(len(own))])) for g, own in enumerate(groups)])

    joint = {**found, "wanted": groups[0][0][name]["wanted"]}
    return score(joint), bootstrap(score, joint)
