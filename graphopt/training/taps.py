"""Networks whose inner values are read while they run: graphs, modules, and model files."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graphopt.errors import InvalidInput
from graphopt.exporters import to_torch
from graphopt.exporters.torch.module import TorchGraph
from graphopt.frontends import load
from graphopt.ir import Graph
from graphopt.training.data import Outputs
from graphopt.training.objective import all_of

Network = Graph | nn.Module | str | Path
"""A graph, a module, or a model file."""


class Tapped(nn.Module):
    """A network that gives, beside its outputs, the values of nodes or submodules by name."""

    def __init__(self, net: nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.net, self.inputs = net, tuple(inputs)

    def given(self, batch: Mapping[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        """The inputs in order: by their own names, or else by those that the student has for them."""
        chosen = self.inputs if self.inputs and all(name in batch for name in self.inputs) else names
        return [batch[name] for name in chosen]


class TappedGraph(Tapped):
    """A graph, of which the values are further outputs."""

    def __init__(self, graph: Graph, taps: Sequence[str]) -> None:
        values = tuple(graph.node(name).results[0] for name in taps)
        wide = to_torch(replace(graph, outputs=(*graph.outputs, *values), output_names=()))
        super().__init__(wide, wide.input_names)
        self.graph, self.count = graph, len(graph.outputs)

    @property
    def module(self) -> TorchGraph:
        assert isinstance(self.net, TorchGraph)
        return self.net

    def forward(self, *inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        results = all_of(self.net(*inputs))
        return results[: self.count], results[self.count :]


class TappedModule(Tapped):
    """A module, of which submodules say what they give."""

    def __init__(self, module: nn.Module, taps: Sequence[str]) -> None:
        super().__init__(module, positional(module))
        self.taps = tuple(taps)
        known = dict(module.named_modules())
        if unknown := [name for name in taps if name not in known]:
            raise InvalidInput(f"no submodule is called {unknown[0]!r}", where="features", advice=f"one of {[*known]}")

    def forward(self, *inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            return lambda module, given, result: found.update({name: result})

        hooks = [self.net.get_submodule(name).register_forward_hook(keep(name)) for name in self.taps]
        try:
            results = tensors_of(self.net(*inputs))
        finally:
            for hook in hooks:
                hook.remove()
        if silent := [name for name in self.taps if not isinstance(found.get(name), Tensor)]:
            raise InvalidInput("it did not run, or gave no tensor", where=f"features: {silent[0]}")
        return results, tuple(found[name] for name in self.taps)


def tapped(network: Network, taps: Sequence[str]) -> TappedGraph | TappedModule:
    """A network with the values that are read of it. Raises ``InvalidInput`` for a name that it does not have."""
    if isinstance(network, str | Path):
        network = load(network)
    return TappedGraph(network, taps) if isinstance(network, Graph) else TappedModule(network, taps)


def positional(module: nn.Module) -> list[str]:
    """The names of the arguments that a module must be given; none where it does not say."""
    if isinstance(module, TorchGraph):
        return module.input_names
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]


def tensors_of(outputs: Outputs | Mapping[str, Tensor] | list[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of a module as a tuple."""
    if isinstance(outputs, Mapping):
        return tuple(outputs.values())
    return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)
