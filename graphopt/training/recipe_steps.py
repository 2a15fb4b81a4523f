"""The steps of a recipe: what each may say, and the training call that it is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.passes import parse_passes
from graphopt.passes.prune import PruneChannels, PruneWeights
from graphopt.training.data import Loss
from graphopt.training.distill import distill
from graphopt.training.fine_tune import fine_tune
from graphopt.training.history import TrainedGraph
from graphopt.training.prune import prune_iteratively
from graphopt.training.samples import BATCH_SIZE
from graphopt.training.settings import Options
from graphopt.training.sparsify import Gradual, Regrow, Soft, prune_while_training
from graphopt.training.tune import Evaluate


class Lessons(NamedTuple):
    """What all steps of a recipe learn from."""

    data: Any
    loss: Loss | None
    evaluate: Evaluate | None
    folder: Path
    """What paths in the recipe are relative to."""

    def needed_loss(self) -> Loss:
        """Raises ``InvalidInput`` where the recipe names no loss and no labels."""
        if self.loss is None:
            raise InvalidInput(
                "there is nothing to learn", where="data", advice="name labels, or a loss = 'file.py:name'"
            )
        return self.loss


@dataclass(frozen=True, kw_only=True)
class RecipeStep:
    """One entry of ``[[steps]]``; see ``Settings`` for what all have."""

    epochs: int = 10
    optimizer: str | dict[str, Any] = "adam"
    schedule: str | dict[str, Any] = "cosine"
    frozen_norms: bool = False
    frozen: tuple[str, ...] = ()
    batch_size: int = BATCH_SIZE

    def run(self, graph: Graph, lessons: Lessons, options: Options) -> TrainedGraph:
        """The graph after this step; the options have its fields, the seed and the folder of its checkpoint."""
        raise NotImplementedError(type(self).__name__)

    def options(self, seed: int, checkpoint: Path | None, fabric: Any) -> Options:
        own: Any = {field.name: getattr(self, field.name) for field in fields(RecipeStep)}
        made: Options = {"seed": seed, "checkpoint": checkpoint, "fabric": fabric}
        made.update(own)
        return made


@dataclass(frozen=True, kw_only=True)
class FineTuneStep(RecipeStep):
    """``fine_tune``, with a model file as ``teacher``."""

    teacher: str | None = None

    def run(self, graph: Graph, lessons: Lessons, options: Options) -> TrainedGraph:
        teacher = None if self.teacher is None else lessons.folder / self.teacher
        loss = lessons.needed_loss()
        return fine_tune(graph, lessons.data, loss, evaluate=lessons.evaluate, teacher=teacher, **options)


@dataclass(frozen=True, kw_only=True)
class DistillStep(RecipeStep):
    """``distill`` from a model file; ``features`` is a table of its nodes and the student's."""

    teacher: str
    temperature: float = 4.0
    alpha: float = 0.7
    features: dict[str, str] | None = None

    def run(self, graph: Graph, lessons: Lessons, options: Options) -> TrainedGraph:
        return distill(
            lessons.folder / self.teacher,
            graph,
            lessons.data,
            lessons.loss,
            temperature=self.temperature,
            alpha=self.alpha,
            features=self.features,
            evaluate=lessons.evaluate,
            **options,
        )


@dataclass(frozen=True, kw_only=True)
class PruneStep(RecipeStep):
    """``prune_iteratively``: ``pruning`` is the pass as the command line has it; ``epochs`` are those of a step."""

    pruning: str
    steps: int = 10
    epochs: int = 1
    teacher: str | None = None

    def run(self, graph: Graph, lessons: Lessons, options: Options) -> TrainedGraph:
        del options["epochs"]
        return prune_iteratively(
            graph,
            pruning_pass(self.pruning),
            lessons.data,
            lessons.needed_loss(),
            steps=self.steps,
            epochs_per_step=self.epochs,
            teacher=None if self.teacher is None else lessons.folder / self.teacher,
            evaluate=lessons.evaluate,
            **options,
        )


@dataclass(frozen=True, kw_only=True)
class SparsifyStep(RecipeStep):
    """``prune_while_training``: ``how`` is gradual, soft, or regrow."""

    pruning: str
    how: str = "gradual"

    def run(self, graph: Graph, lessons: Lessons, options: Options) -> TrainedGraph:
        pruning = pruning_pass(self.pruning)
        kind = {"gradual": Gradual, "regrow": Regrow, "soft": Soft}.get(self.how)
        if kind is None:
            raise InvalidInput(
                f"no way to prune is called {self.how!r}", where="how", advice="gradual, soft, or regrow"
            )
        if kind is not Soft and not isinstance(pruning, PruneWeights):
            raise InvalidInput(f"{self.how} pruning is of weights", where=self.pruning, advice="prune-weights{...}")
        how: Any = kind(pruning)
        loss = lessons.needed_loss()
        return prune_while_training(graph, how, lessons.data, loss, evaluate=lessons.evaluate, **options)


STEPS: dict[str, type[RecipeStep]] = {
    "fine-tune": FineTuneStep,
    "distill": DistillStep,
    "prune": PruneStep,
    "prune-while-training": SparsifyStep,
}
"""What ``do`` of a step may be."""


def pruning_pass(text: str) -> PruneChannels | PruneWeights:
    """The one pass that a text names; raises ``InvalidInput`` for any that does not prune."""
    passes = parse_passes(text)
    if len(passes) != 1 or not isinstance(passes[0], PruneChannels | PruneWeights):
        advice = "write pruning = 'prune-channels{ratio=0.5}', or prune-weights{...}"
        raise InvalidInput(f"{text!r} is no pass that prunes", where="pruning", advice=advice)
    return passes[0]
