"""Evaluation: metrics of models, graphs, programs and boards, with intervals; how far they are from a reference."""

from graphopt.evaluation.comparison import Variant, Variants, compare
from graphopt.evaluation.driver import evaluate
from graphopt.evaluation.metrics import Metric, Observed
from graphopt.evaluation.result import Agreement, Confusion, Disturbed, Evaluation, Sample, Score
from graphopt.evaluation.table import METRICS

__all__ = [
    "METRICS",
    "Agreement",
    "Confusion",
    "Disturbed",
    "Evaluation",
    "Metric",
    "Observed",
    "Sample",
    "Score",
    "Variant",
    "Variants",
    "compare",
    "evaluate",
]
