"""Evaluation: metrics of models, graphs, programs and boards, with intervals; how far they are from a reference."""

from graphopt.evaluation.driver import evaluate
from graphopt.evaluation.metrics import Metric, Observed
from graphopt.evaluation.result import Agreement, Confusion, Evaluation, Sample, Score
from graphopt.evaluation.table import METRICS

__all__ = ["METRICS", "Agreement", "Confusion", "Evaluation", "Metric", "Observed", "Sample", "Score", "evaluate"]
