"""The difference between two graphs, as text and in numbers."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from graphopt.ir import Graph, bind_batch, signature, worst_difference
from graphopt.passes.contract import random_inputs


@dataclass(frozen=True)
class OutputDifference:
    """The largest difference of an output, relative to its largest magnitude."""

    name: str
    difference: float


@dataclass(frozen=True)
class ModelDifference:
    """The difference of two models: ``changes`` is a diff of their texts, empty if they are the same.

    ``outputs`` has the differences on random inputs; it is None if their inputs or outputs do not match.
    """

    changes: str
    outputs: tuple[OutputDifference, ...] | None


def graph_diff(before: Graph, after: Graph, context: int = 2) -> str:
    """A unified diff of the text forms; empty if they are the same."""
    lines = difflib.unified_diff(
        str(before).splitlines(), str(after).splitlines(), "before", "after", "", "", context, ""
    )
    return "\n".join(lines)


def compare_models(before: Graph, after: Graph, seed: int = 0) -> ModelDifference:
    """The difference of two graphs; ``seed`` is for the random inputs, with a batch of two if it is symbolic."""
    changes = graph_diff(before, after)
    if not changes:
        return ModelDifference(changes, ())
    if signature(before) != signature(after):
        return ModelDifference(changes, None)
    before, after = bind_batch(before, 2), bind_batch(after, 2)
    inputs = random_inputs(before, seed)
    pairs = zip(before.output_names, before(**inputs), after(**inputs), strict=True)
    return ModelDifference(changes, tuple(OutputDifference(n, worst_difference(got, want)) for n, want, got in pairs))
