"""The analysis of sensitivity: a score by group and ratio, as a table, as JSON, and for plots."""

from __future__ import annotations

import json

import numpy as np

import graphopt
from graphopt.ir import Graph
from graphopt.ops.macs import count_macs
from graphopt.passes import PruneChannels
from pruning.nets import residual_net


def test_each_group_is_pruned_by_itself() -> None:
    graph = residual_net()
    report = graphopt.analyze_sensitivity(graph, lambda g: float(count_macs(g)), ratios=[0.25, 0.75])
    assert report.baseline == count_macs(graph)
    assert [(row.name, row.layers, row.units) for row in report.rows] == [
        ("stem", ("stem", "block.2"), 16),
        ("block.1", ("block.1",), 16),
    ]
    alone = PruneChannels(ratio=0.75, scope="local", keep=["stem", "block.2"])(graph)
    assert report.rows[1].scores[1] == count_macs(alone)


def test_forms_of_the_report() -> None:
    scores = iter(np.linspace(1, 0, 9).round(3).tolist())

    def evaluate(graph: Graph) -> float:
        return float(next(scores))

    report = graphopt.analyze_sensitivity(residual_net(), evaluate, ratios=[0.5])
    assert str(report).splitlines() == [
        "baseline 0.75",
        "",
        "| group | units | 0.5 |",
        "| --- | ---: | ---: |",
        "| block.1 | 16 | 0.875 |",
        "| stem | 16 | 1 |",
    ]
    assert json.loads(report.to_json())["rows"][0]["layers"] == ["stem", "block.2"]
    assert report.series()["stem"] == ((0.0, 0.5), (0.75, 1.0))
