"""A graph trained by way of its module: any loss that calls it, and the parameters back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from graphopt.errors import InvalidInput
from graphopt.exporters import with_parameters
from graphopt.exporters.torch.module import TorchGraph
from graphopt.ir import Graph
from graphopt.training.companion import Companion
from graphopt.training.data import Loss
from graphopt.training.history import TrainedGraph
from graphopt.training.loop import Batch, ModuleLoss, train_module
from graphopt.training.samples import Samples, fixed_batch
from graphopt.training.settings import Settings

Evaluate = Callable[[Graph], float]
"""How good a graph is; higher is better."""


def tune(
    graph: Graph,
    module: TorchGraph,
    data: Any,
    loss: ModuleLoss,
    settings: Settings,
    evaluate: Evaluate | None,
    companions: Sequence[Companion],
) -> TrainedGraph:
    """A graph with the parameters that its module has after training by a loss that calls it."""
    samples = Samples(data, tuple(module.input_names), fixed_batch(graph) or settings.batch_size)
    history = train_module(module, samples, loss, settings, on_graph(graph, module, evaluate), companions)
    return TrainedGraph.of(with_parameters(graph, module), history)


def on_graph(graph: Graph, module: TorchGraph, evaluate: Evaluate | None) -> Callable[[nn.Module], float] | None:
    """What rates graphs, as what rates the module of one. Raises ``InvalidInput`` for what is no function."""
    if evaluate is None:
        return None
    if not callable(evaluate):
        advice = "give a function from a graph to a number, higher being better"
        raise InvalidInput(f"{evaluate!r} is no function", where="evaluate", advice=advice)
    return lambda _: evaluate(with_parameters(graph, module))


def on_outputs(inputs: Sequence[str], loss: Loss) -> ModuleLoss:
    """A loss of outputs as one of the module that gives them."""

    def of_module(module: nn.Module, batch: Batch) -> Tensor:
        return loss(module(**{name: batch[name] for name in inputs}), batch)

    return of_module
