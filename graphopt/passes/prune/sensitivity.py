"""Measured sensitivity: the effect of pruning one coupled group, or one unit, on a score that the user computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Graph, Value
from graphopt.passes.prune.coupling import couple, separate_vectors
from graphopt.passes.prune.criteria import along, find_scores
from graphopt.passes.prune.importance import Importance, ScoreFunction, Scores
from graphopt.passes.prune.remove import Removal
from graphopt.passes.prune.select import Limits, Ranking, positions, units_of
from graphopt.progress import counted
from graphopt.records import to_json

Evaluate = Callable[[Graph], float]
"""The score of a graph; higher is better. For example, the accuracy on held-out samples, or minus a loss."""


@dataclass(frozen=True)
class Row:
    """A coupled group, with the name of its first layer, the names of all its layers, and the score at each ratio."""

    name: str
    layers: tuple[str, ...]
    units: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class SensitivityReport:
    """The score of the unpruned graph, and the scores by group and ratio with only that group pruned."""

    baseline: float
    ratios: tuple[float, ...]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        """A Markdown table, the most sensitive group first."""
        head = ["group", "units", *(f"{r:g}" for r in self.ratios)]
        ordered = sorted(self.rows, key=lambda row: sum(row.scores))
        lines = [[row.name, str(row.units), *(f"{s:.4g}" for s in row.scores)] for row in ordered]
        table = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
        return "\n".join([f"baseline {self.baseline:.4g}", "", *("| " + " | ".join(cells) + " |" for cells in table)])

    def to_json(self) -> str:
        return to_json(self)

    def series(self) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """For plots: ratios and scores of each group, from 0, where nothing is pruned."""
        return {row.name: ((0.0, *self.ratios), (self.baseline, *row.scores)) for row in self.rows}


def analyze_sensitivity(
    graph: Graph,
    evaluate: Evaluate,
    ratios: Sequence[float] = (0.25, 0.5, 0.75),
    importance: str | Importance | ScoreFunction = "magnitude",
) -> SensitivityReport:
    """The score of the graph with each coupled group pruned alone, at each ratio.

    It calls ``evaluate`` once for the unpruned graph, then once for each group and ratio.
    """
    own = separate_vectors(graph)
    coupling = couple(own)
    ranking = Ranking.of(coupling, find_scores(importance, own), "local", normalize=True, limits=Limits())
    chosen = [ranking.least(ratio) for ratio in ratios]
    rows = []
    for group in counted(ranking.scores, "group"):
        small = [Removal.of(coupling, units_of({group: c[group]})).apply() for c in chosen]
        layers = coupling.layers(group)
        rows.append(Row(layers[0], layers, len(group), tuple(float(evaluate(g)) for g in small)))
    return SensitivityReport(float(evaluate(graph)), tuple(ratios), tuple(rows))


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The measured drop of a score when a single unit is removed; it calls ``evaluate`` once for each unit.

    A unit counts 0 if the score rises without it. Units are masked, so the graph keeps its shape.
    """

    evaluate: Evaluate
    comparable: ClassVar[bool] = True

    def scores(self, graph: Graph) -> Scores:
        coupling = couple(graph)
        baseline = self.evaluate(graph)
        drops: dict[Value, tuple[int, Array]] = {}
        for group in counted(coupling.groups, "group"):
            place, at = next(
                (p, at) for p, at in positions(coupling, group) if drops.get(p.value, (p.axis,))[0] == p.axis
            )
            _, numbers = drops.setdefault(place.value, (place.axis, np.zeros(place.size)))
            for unit, indices in zip(group.units, at, strict=True):
                score = self.evaluate(Removal.of(coupling, [unit]).masked())
                numbers[indices[0]] = max(baseline - score, 0.0)
        return {v: along(numbers, axis, v.type.rank) for v, (axis, numbers) in drops.items()}
