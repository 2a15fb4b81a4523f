"""The tables of evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from graphopt.cli.console import table

if TYPE_CHECKING:
    from graphopt.evaluation import Agreement, Confusion, Evaluation, Sample, Score


def evaluation_table(report: Evaluation) -> Table:
    """The metric, what it was measured on and by, and the agreement with a reference."""
    made = table("what", "value>", title=escape(report.model))
    if report.score is not None:
        made.add_row(report.score.metric, report.score.written(report.score.value))
        made.add_row("95 % interval", limits(report.score))
    some = f"{report.samples:,} of {report.available:,}, evenly spread"
    made.add_row("samples", some if report.samples < report.available else f"{report.samples:,}")
    made.add_row("computed by", escape(report.engine))
    if report.against is not None:
        add_agreement(made, report.against)
    return made


def add_agreement(made: Table, against: Agreement) -> None:
    made.add_section()
    made.add_row("against", escape(against.model))
    made.add_row("computed by", escape(against.engine))
    if against.score is not None:
        made.add_row(f"its {against.score.metric}", against.score.written(against.score.value))
    if against.same_class is not None:
        made.add_row("same class", f"{against.same_class.written(against.same_class.value)}")
        made.add_row("95 % interval", limits(against.same_class))
    made.add_row("cosine", f"{against.cosine:.6f}")
    made.add_row("signal to noise", decibels(against))
    made.add_row("largest difference", f"{against.max_error:.4g}")


def decibels(against: Agreement) -> str:
    """The signal-to-noise ratio in words."""
    return "no difference" if against.sqnr == math.inf else f"{against.sqnr:.1f} dB"


def limits(score: Score) -> str:
    """The interval in words."""
    if score.low is None or score.high is None:
        return "not known"
    return f"{score.written(score.low)} to {score.written(score.high)} ({score.interval})"


def accuracy_table(report: Evaluation) -> Table:
    """A model before (the reference) and after."""
    made = table("", "metric", "value>", "95 % interval>", "samples>", "computed by")
    assert report.against is not None
    for name, score, engine in (
        ("before", report.against.score, report.against.engine),
        ("after", report.score, report.engine),
    ):
        if score is not None:
            cells = (score.metric, score.written(score.value), limits(score), f"{score.count:,}", escape(engine))
            made.add_row(name, *cells)
    same = report.against.same_class
    if same is not None:
        made.add_row("both", same.metric, same.written(same.value), limits(same), f"{same.count:,}")
    made.add_row("both", "signal to noise", decibels(report.against), "", f"{report.samples:,}")
    return made


def worst_table(title: str, samples: Sequence[Sample]) -> Table:
    classes = any(sample.label is not None for sample in samples)
    made = table("sample>", "loss>", *(("label>", "predicted>") if classes else ()), title=escape(title))
    for sample in samples:
        made.add_row(
            f"{sample.index:,}", f"{sample.loss:.4g}", *((str(sample.label), str(sample.predicted)) if classes else ())
        )
    return made


def confusion_table(confusion: Confusion) -> Table:
    """A row for each label, a column for each predicted class."""
    matrix = confusion.matrix
    made = table("label>", *(f"{i}>" for i in range(len(matrix))), title="label by predicted class")
    for label, row in enumerate(matrix):
        made.add_row(str(label), *(str(n) if n else "" for n in row))
    return made


def robustness_table(report: Evaluation) -> Table:
    """The metric as it is, and under each disturbance."""
    made = table("inputs", "metric", "value>", "95 % interval>")
    scores = [("as they are", report.score), *((row.disturbance, row.score) for row in report.robustness)]
    for name, score in scores:
        if score is not None:
            made.add_row(name, score.metric, score.written(score.value), limits(score))
    return made
