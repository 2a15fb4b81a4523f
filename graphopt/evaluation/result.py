"""What an evaluation found, as records: to print, to compare, to write as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.records import to_json


@dataclass(frozen=True)
class Score:
    """A metric of so many labels, with its 95 % confidence interval where there is one.

    ``unit`` is ``%`` of a part of 1, ``dB``, or empty; ``better`` is ``higher`` or ``lower``. ``value`` is NaN where
    the metric is not defined, as an AUC of one class.
    """

    metric: str
    value: float
    count: int
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    unit: str = ""
    better: str = "higher"

    def __str__(self) -> str:
        text = self.written(self.value)
        if self.low is not None and self.high is not None:
            text += f" [{self.written(self.low)}, {self.written(self.high)}]"
        return f"{text}, n = {self.count:,}"

    def written(self, value: float) -> str:
        if self.unit == "%":
            return f"{value:.2%}"
        return f"{value:.1f} dB" if self.unit == "dB" else f"{value:.4g}"


@dataclass(frozen=True)
class Sample:
    """One sample: its place in the data, its loss, and for classes its label and what was predicted."""

    index: int
    loss: float
    label: int | None = None
    predicted: int | None = None


@dataclass(frozen=True)
class Confusion:
    """How often each class (row) was taken for each (column)."""

    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Agreement:
    """How far the outputs are from a reference's, on the same samples.

    ``same_class`` is the part of them of the same class, where the first output has a score for each; ``cosine`` the
    mean over samples, ``sqnr`` the signal-to-noise ratio in decibels, infinite where nothing differs; ``max_error`` the
    largest difference. ``score`` is the metric of the reference, and the loss of the ``worst`` samples is the power of
    their error over that of the signal.
    """

    model: str
    engine: str
    same_class: Score | None
    cosine: float
    sqnr: float
    max_error: float
    score: Score | None
    worst: tuple[Sample, ...]


@dataclass(frozen=True)
class Disturbed:
    """The metric under one disturbance of the inputs."""

    disturbance: str
    score: Score


@dataclass(frozen=True)
class Evaluation:
    """What a model got: on ``samples`` labels of the ``available`` ones, computed by ``engine``."""

    model: str
    engine: str
    samples: int
    available: int
    score: Score | None
    confusion: Confusion | None = None
    worst: tuple[Sample, ...] = ()
    against: Agreement | None = None
    robustness: tuple[Disturbed, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As JSON; what is infinite or not defined is null."""
        return to_json(self)

    def __str__(self) -> str:
        text = f"{self.model} ({self.engine}, {self.samples:,} of {self.available:,} samples)"
        if self.score is not None:
            text += f": {self.score.metric} {self.score}"
        if self.against is not None:
            text += f"; against {self.against.model}: {self.against.sqnr:.1f} dB"
            text += f", same class {self.against.same_class}" if self.against.same_class else ""
        return text
