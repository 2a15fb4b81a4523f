"""Zeros of weights that stay zeros while the rest is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor, nn

from graphopt.errors import ContractViolation
from graphopt.exporters.torch.module import TorchGraph
from graphopt.ir import Graph, Value
from graphopt.passes.prune.criteria import layer_weights
from graphopt.training.companion import Companion, Moment


class HeldZeros(Companion):
    """Sets again to zero, after every step, what was zero of weights to begin with."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.zeros = [(weight, (weight == 0).detach()) for weight in weights]

    def start(self, module: nn.Module) -> None:
        self.zeros = [(weight, zeros.to(weight.device)) for weight, zeros in self.zeros]

    def after_step(self, module: nn.Module, at: Moment) -> None:
        for weight, zeros in self.zeros:
            weight.masked_fill_(zeros, 0)


def held_zeros(module: TorchGraph) -> HeldZeros:
    """The zeros of the module of a graph, held."""
    return HeldZeros(module.weights[value] for value in sparse_weights(module.plan.graph))


def sparse_weights(graph: Graph) -> Iterator[Value]:
    """The weights of layers that have zeros."""
    for weight, _ in layer_weights(graph):
        if weight.constant is not None and not weight.constant.all():
            yield weight


def check_zeros(before: Graph, after: Graph) -> None:
    """Raises ``ContractViolation`` where a weight of a layer that was zero is not any more."""
    now = {after.names[node]: node.results[0].constant for node in after.nodes}
    for weight in sparse_weights(before):
        name, was = before.names[weight.node], weight.constant
        array = now.get(name)
        if was is None or array is None or np.any(array[was == 0] != 0):
            raise ContractViolation("a weight that was zero is not after training", where=name)
