"""The weights that are exchanged, as one vector: which constants of a graph they are, and the way back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import torch

from graphopt.errors import InvalidInput
from graphopt.exporters import to_torch, with_parameters
from graphopt.exporters.torch.module import TorchGraph
from graphopt.exporters.torch.plan import STATISTICS
from graphopt.ir import Array, Graph, frozen, parse, print_graph
from graphopt.ops import BatchNorm
from graphopt.passes.prune.criteria import layer_weights

VARIANCE = 4
"""The operand of a batch norm that is never negative."""


@dataclass(frozen=True, eq=False)
class Layout:
    """What clients and server exchange of a model: a float32 vector of ``size`` numbers.

    These are the parameters that are trained, and the statistics of batch norms. Weights of layers that are zero in the
    graph are pruned: they stay zero, and are never sent.

    Attributes:
        graph: the model, with the weights that it began with.
        names: the tensors, by their names in ``to_torch(graph)``.
        shapes: their shapes.
        kept: of all their elements in order, which are exchanged.
        prunable: of the elements that are exchanged, which are weights of layers.
        measured: which are statistics of batch norms.
        variances: which of those are variances.
    """

    graph: Graph
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    kept: Array
    prunable: Array
    measured: Array
    variances: Array

    @classmethod
    def of(cls, graph: Graph, fixed: Sequence[str] = (), frozen_norms: bool = False) -> Layout:
        """The layout of a graph, of whose parameters those of ``fixed`` patterns stay.

        Raises ``InvalidInput`` where there is nothing to train, and for weights that are not float32.
        """
        module = to_torch(graph)
        kinds = kinds_of(module, fixed, frozen_norms)
        if not {"layer", "other"} & set(kinds.values()):
            raise InvalidInput("the graph has no weights that can be trained", where=graph.name)
        tensors = module.state_dict()
        for name in kinds:
            if tensors[name].dtype != torch.float32:
                raise InvalidInput(f"is {tensors[name].dtype}; only float32 is exchanged", where=name)
        sizes = [tensors[name].numel() for name in kinds]
        of_layers, measured, variances = (
            np.repeat([kind in wanted for kind in kinds.values()], sizes)
            for wanted in (("layer",), ("mean", "variance"), ("variance",))
        )
        kept = ~((flat(module, kinds) == 0) & of_layers)
        shapes = tuple(tuple(tensors[name].shape) for name in kinds)
        return cls(graph, tuple(kinds), shapes, kept, of_layers[kept], measured[kept], variances[kept])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its graph's text: pickle would recurse through a deep graph."""
        others = (getattr(self, f.name) for f in fields(self) if f.name != "graph")
        return restored, (print_graph(self.graph), dict(self.graph.constants), *others)

    @property
    def size(self) -> int:
        return int(self.kept.sum())

    @cached_property
    def blocks(self) -> Array:
        """Which tensor each exchanged element is of."""
        sizes = [math.prod(shape) for shape in self.shapes]
        return np.repeat(np.arange(len(sizes)), sizes)[self.kept]

    @cached_property
    def digest(self) -> bytes:
        """Eight bytes that tell this layout from those of other models."""
        told = f"{self.names} {self.shapes}".encode() + np.packbits(self.kept).tobytes()
        return hashlib.sha256(told).digest()[:8]

    def vector(self, graph: Graph) -> Array:
        """The exchanged weights of this graph, or of one trained from it: float32 ``[size]``.

        Raises ``InvalidInput`` where a weight is missing, or has another shape.
        """
        module = to_torch(graph)
        tensors = module.state_dict()
        for name, shape in zip(self.names, self.shapes, strict=True):
            found = tuple(tensors[name].shape) if name in tensors else None
            if found != shape:
                what = "is not in the graph any more" if found is None else f"is {list(found)}, and was {list(shape)}"
                advice = "train without removing or fusing nodes; compress the result with compress="
                raise InvalidInput(what, where=name, advice=advice)
        return flat(module, self.names)[self.kept]

    def graph_of(self, vector: Array) -> Graph:
        """The model with these weights."""
        module = to_torch(self.graph)
        tensors, whole = module.state_dict(), np.zeros(len(self.kept), np.float32)
        whole[self.kept] = vector
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        for name, part in zip(self.names, np.split(whole, ends[:-1]), strict=True):
            tensors[name].copy_(torch.from_numpy(part.copy()).reshape(tensors[name].shape))
        return with_parameters(self.graph, module)


def restored(text: str, constants: dict[str, Array], *others: Any) -> Layout:
    return Layout(parse(text, {digest: frozen(array) for digest, array in constants.items()}), *others)


def kinds_of(module: TorchGraph, fixed: Sequence[str], frozen_norms: bool) -> dict[str, str]:
    """The names of the tensors that training changes, and whether each is of a layer, of a norm, or something else."""
    graph = module.plan.graph
    of_layers = {value for value, _ in layer_weights(graph)}
    norms = {
        value: "variance" if place == VARIANCE else "mean"
        for node in graph.nodes
        if isinstance(node.op, BatchNorm) and not frozen_norms
        for place in STATISTICS[BatchNorm]
        if (value := node.inputs[place]).constant is not None
    }
    found = {}
    for value, slot in module.plan.slots.items():
        name = module.paths[slot.key]
        if value in norms:
            found[name] = norms[value]
        elif slot.parameter and not any(fnmatchcase(name, pattern) for pattern in fixed):
            found[name] = "layer" if value in of_layers else "other"
    return found


def flat(module: TorchGraph, names: Sequence[str] | dict[str, str]) -> Array:
    """These tensors of a module in one vector."""
    tensors = module.state_dict()
    return np.concatenate([tensors[name].numpy(force=True).astype(np.float32).reshape(-1) for name in names])
