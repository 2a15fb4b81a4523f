"""The steps of a recipe: what each may say, and the training call that it is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.passes import Context, parse_passes
from graphopt.passes.prune import PruneChannels, PruneWeights
from graphopt.training.data import Loss
from graphopt.training.distill import distill
from graphopt.training.fine_tune import fine_tune
from graphopt.training.history import TrainedGraph
from graphopt.training.named import named_function
from graphopt.training.prune import prune_iteratively
from graphopt.training.quantization import quantization_aware
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

    def run(self, graph: Graph, lessons: Lessons, context: Context, options: Options) -> TrainedGraph:
        """The graph after this step; the options have its fields, the seed and the folder of its checkpoint. The
        context gets the notes of passes."""
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

    def run(self, graph: Graph, lessons: Lessons, context: Context, options: Options) -> TrainedGraph:
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

    def run(self, graph: Graph, lessons: Lessons, context: Context, options: Options) -> TrainedGraph:
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

    def run(self, graph: Graph, lessons: Lessons, context: Context, options: Options) -> TrainedGraph:
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
            context=context,
            **options,
        )


@dataclass(frozen=True, kw_only=True)
class SparsifyStep(RecipeStep):
    """``prune_while_training``: ``how`` is gradual, soft, or regrow."""

    pruning: str
    how: str = "gradual"

    def run(self, graph: Graph, lessons: Lessons, context: Context, options: Options) -> TrainedGraph:
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


@dataclass(frozen=True, kw_only=True)
class QuantizeStep(RecipeStep):
    """``quantization_aware``, with a model file as ``teacher``: the graph is on integers afterwards.

    ``calibration`` is a function that gives batches, ``file.py:name``; without one the first samples of the data are.
    """

    weights: str = "int8"
    activations: str = "int8"
    per_channel: bool = True
    observer: str = "minmax"
    overrides: dict[str, str] | None = None
    calibration: str | None = None
    learn_scales: bool = True
    teacher: str | None = None
    temperature: float = 4.0
    alpha: float = 0.7
    outputs: tuple[str, ...] | None = None

    def run(self, graph: Graph, lessons: Lessons, context: Context, options: Options) -> TrainedGraph:
        named = self.calibration
        return quantization_aware(
            graph,
            lessons.data,
            lessons.loss if self.teacher is not None else lessons.needed_loss(),
            weights=self.weights,
            activations=self.activations,
            per_channel=self.per_channel,
            observer=self.observer,
            overrides=self.overrides,
            calibration=None if named is None else named_function(named, lessons.folder)(),
            learn_scales=self.learn_scales,
            teacher=None if self.teacher is None else lessons.folder / self.teacher,
            temperature=self.temperature,
            alpha=self.alpha,
            outputs=self.outputs,
            evaluate=lessons.evaluate,
            context=context,
            **options,
        )


STEPS: dict[str, type[RecipeStep]] = {
    "fine-tune": FineTuneStep,
    "distill": DistillStep,
    "prune": PruneStep,
    "prune-while-training": SparsifyStep,
    "quantization-aware": QuantizeStep,
}
"""What ``do`` of a step may be."""


def pruning_pass(text: str) -> PruneChannels | PruneWeights:
    """The one pass that a text names; raises ``InvalidInput`` for any that does not prune."""
    passes = parse_passes(text)
    if len(passes) != 1 or not isinstance(passes[0], PruneChannels | PruneWeights):
        advice = "write pruning = 'prune-channels{ratio=0.5}', or prune-weights{...}"
        raise InvalidInput(f"{text!r} is no pass that prunes", where="pruning", advice=advice)
    return passes[0]
