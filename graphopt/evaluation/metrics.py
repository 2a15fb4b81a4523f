"""What a metric is: it looks at the outputs batch by batch, keeps little of each sample, and scores what it kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.evaluation.intervals import ConfidenceInterval, bootstrap
from graphopt.ir import Array

Seen = dict[str, Array]
"""What a metric keeps: arrays whose first axis counts labels. ``loss``, if there, says which samples are worst;
``predicted`` and ``label``, which classes are taken for which."""


@dataclass(frozen=True)
class Observed:
    """A batch that ran: outputs and inputs of its samples, its labels, and the places of these among all labels.

    A label may be of several consecutive samples, the windows of a clip for one.
    """

    outputs: tuple[Array, ...]
    labels: Array | None
    inputs: Mapping[str, Array]
    places: Array

    def wanted(self, metric: str) -> Array:
        """The labels; raises ``InvalidInput`` where there are none."""
        if self.labels is None:
            raise InvalidInput("it needs labels", where=f"metric {metric}", advice="give labels (--labels y)")
        return self.labels

    def output(self, metric: str) -> Array:
        """The first output; raises ``InvalidInput`` unless it has a row for each label."""
        first = self.outputs[0]
        if not first.ndim or len(first) != len(self.places):
            what = f"the first output has the shape {list(first.shape)} for {len(self.places)} labels"
            raise InvalidInput(what, where=f"metric {metric}", advice="a row for each label is needed")
        return first


class Metric(ABC):
    """A number that says how good outputs are."""

    name: str
    better: ClassVar[str] = "higher"
    unit: ClassVar[str] = ""
    windows: ClassVar[bool] = False
    """Whether a label may be of several samples."""
    may_be_relative: ClassVar[bool] = False
    """Whether the outputs of the reference can stand for labels."""

    @abstractmethod
    def observe(self, batch: Observed) -> Seen:
        """What is to be kept of a batch. Raises ``InvalidInput`` for labels that do not fit the outputs."""

    @abstractmethod
    def score(self, seen: Seen) -> float:
        """The metric of what was seen; NaN where it is not defined."""

    def interval(self, seen: Seen) -> ConfidenceInterval | None:
        """The 95 % confidence interval of the score."""
        return bootstrap(self.score, seen)

    def measured(self, seen: Seen) -> tuple[float, ConfidenceInterval | None]:
        """The score and its interval."""
        return self.score(seen), self.interval(seen)


def alike(one: Array, other: Array) -> bool:
    """Whether two arrays have the same shape, but for axes of one element."""
    shapes = [[size for size in array.shape if size != 1] for array in (one, other)]
    return shapes[0] == shapes[1]


def finite_or_refused(output: Array, batch: Observed, metric: str) -> Array:
    """The output in float64; raises ``InvalidInput`` naming the first sample that has NaN or infinity."""
    rows = output.reshape(len(output), -1).astype(np.float64)
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(1))):
        place = batch.places[bad[0] * len(batch.places) // len(rows)]
        what = f"the outputs of {len(bad)} samples are not finite, of sample {place} for one"
        raise InvalidInput(what, where=f"metric {metric}", advice="find the node: graphopt opt MODEL --bisect")
    return output.astype(np.float64)
