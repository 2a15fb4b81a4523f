"""Fine-tuning: a graph goes to PyTorch, is trained, and comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graphopt.exporters import to_torch, with_parameters
from graphopt.ir import Graph
from graphopt.training.companion import Companion
from graphopt.training.data import Loss
from graphopt.training.history import TrainedGraph
from graphopt.training.loop import Batch, ModuleLoss, Settings, train_module
from graphopt.training.masks import check_zeros, held_zeros
from graphopt.training.samples import BATCH_SIZE, Samples, fixed_batch
from graphopt.training.schedules import ScheduleChoice
from graphopt.training.steps import OptimizerChoice

Evaluate = Callable[[Graph], float]
"""How good a graph is; higher is better."""


def fine_tune(
    graph: Graph,
    data: Any,
    loss: Loss,
    *,
    epochs: int = 10,
    optimizer: OptimizerChoice = "adam",
    schedule: ScheduleChoice = "cosine",
    evaluate: Evaluate | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    fabric: Any = None,
    batch_size: int = BATCH_SIZE,
    frozen_norms: bool = False,
) -> TrainedGraph:
    """The graph with its float constants trained; zeros of the weights of layers stay zeros.

    Args:
        graph: any that ``to_torch`` takes; what of it is a parameter there is trained.
        data: arrays of all samples by name, which are shuffled and cut into batches of ``batch_size`` (or of the
            graph's own size); a sequence of batches; or what can be iterated anew, such as a ``DataLoader``. A batch
            is a mapping of names to arrays or tensors, or a tuple: the inputs in order, then the ``label``.
        loss: from the outputs (a tensor if it is one) and the batch as tensors, to a scalar.
        epochs: how often the data is gone through.
        optimizer: a name of ``torch.optim``, a mapping of ``name`` and options, or a function from parameters to an
            optimizer. An adaptive one without ``lr`` has steps ``relative`` to the size of each weight, by default
            0.3 % of it.
        schedule: ``cosine``, ``linear``, ``constant``; a class of ``torch.optim.lr_scheduler`` by name, or as a
            mapping with its options; or a function from the optimizer to one. Those step after every epoch.
        evaluate: how good a graph is, higher being better. The best state is kept, that before training included;
            without it the last.
        seed: of the order of the data and of all random numbers: the same seed, the same weights.
        checkpoint: a folder, from which an interrupted run goes on, to the weights that it would have had.
        fabric: a launched ``lightning_fabric.Fabric``: more than one device, other precisions.
        frozen_norms: batch norms keep their statistics, and compute with them.

    Where the loss leaves its band training stops with a warning, ``history.stopped`` says why, and the best state is
    kept. Raises ``InvalidInput`` for arguments, data or a checkpoint that cannot be used, ``Unsupported`` where
    ``to_torch`` does.
    """
    settings = Settings(
        epochs=epochs,
        optimizer=optimizer,
        schedule=schedule,
        seed=seed,
        checkpoint=checkpoint,
        fabric=fabric,
        frozen_norms=frozen_norms,
    )
    return tune(graph, data, on_outputs(graph, loss), settings, evaluate, batch_size=batch_size)


def tune(
    graph: Graph,
    data: Any,
    loss: ModuleLoss,
    settings: Settings,
    evaluate: Evaluate | None = None,
    companions: Sequence[Companion] = (),
    batch_size: int = BATCH_SIZE,
) -> TrainedGraph:
    """A graph trained by a loss that calls its module."""
    module = to_torch(graph)
    samples = Samples(data, tuple(module.input_names), fixed_batch(graph) or batch_size)

    def rate(_: nn.Module) -> float:
        assert evaluate is not None
        return evaluate(with_parameters(graph, module))

    held = companions or [held_zeros(module)]
    history = train_module(module, samples, loss, settings, rate if evaluate else None, held)
    trained = with_parameters(graph, module)
    if not companions:
        check_zeros(graph, trained)
    return TrainedGraph.of(trained, history)


def on_outputs(graph: Graph, loss: Loss) -> ModuleLoss:
    """A loss of outputs as one of the module that gives them."""
    names = [graph.names[v.node] for v in graph.inputs]

    def of_module(module: nn.Module, batch: Batch) -> Tensor:
        return loss(module(**{name: batch[name] for name in names}), batch)

    return of_module
