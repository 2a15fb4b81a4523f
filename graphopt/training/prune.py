"""Pruning in steps, with fine-tuning after each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.passes import Context
from graphopt.passes.prune import PruneChannels, PruneWeights
from graphopt.training.data import Loss
from graphopt.training.fine_tune import fine_tune
from graphopt.training.history import History, TrainedGraph
from graphopt.training.settings import Options
from graphopt.training.taps import Network
from graphopt.training.tune import Evaluate


def prune_iteratively(
    graph: Graph,
    pruning: PruneChannels | PruneWeights,
    data: Any,
    loss: Loss,
    *,
    steps: int = 10,
    epochs_per_step: int = 1,
    evaluate: Evaluate | None = None,
    teacher: Network | None = None,
    context: Context | None = None,
    **options: Unpack[Options],
) -> TrainedGraph:
    """The graph pruned in so many steps, each with scores of its own, and fine-tuned after each.

    ``pruning`` says how much goes in all: each step takes about as much of what there was at first. After each the
    best state by ``evaluate`` is kept. Weights that went are zeros in place. ``checkpoint`` gets a folder for each
    step. ``context`` takes the notes of the pass. ``history`` is of all steps, its epochs numbered through, with the
    step as their ``stage``. The other arguments are those of ``fine_tune``.

    Raises ``InvalidInput`` for what cannot be used.
    """
    if pruning.steps > 1 or pruning.fine_tune is not None:
        raise InvalidInput("the pass has steps or a fine_tune", where="pruning", advice="give steps here alone")
    if "epochs" in options:
        raise InvalidInput("it is said by epochs_per_step", where="epochs", advice="leave it out")
    stages: list[TrainedGraph] = []
    folder, seed = options.pop("checkpoint", None), options.pop("seed", 0)

    def tuned(small: Graph) -> Graph:
        stage = len(stages)
        own: Options = {
            **options,
            "epochs": epochs_per_step,
            "checkpoint": None if folder is None else Path(folder) / f"step-{stage + 1}",
            "seed": seed + stage,
        }
        stages.append(fine_tune(small, data, loss, evaluate=evaluate, teacher=teacher, **own))
        return stages[-1]

    replace(pruning, steps=steps, fine_tune=tuned)(graph, context)
    return TrainedGraph.of(stages[-1], History.joined([trained.history for trained in stages]))
