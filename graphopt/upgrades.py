"""Graphs as older versions of graphopt wrote them, in the operators of this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphopt.errors import InvalidInput
from graphopt.ir import REGISTRY, Constant, Graph, Node, Value, rebuild
from graphopt.ops import Fused

Attributes = dict[str, Any]

STORAGE = {"half": False, "bits": 8, "grouped": False}
"""By which attributes layers of version 1 said in what form their weights are stored, with the defaults."""
LAYERS = ("conv", "linear", "conv_integer", "conv_transpose_integer", "linear_integer")
WEIGHT = 1

__all__ = ["UPGRADES", "Upgrading"]


def stores_less(attributes: Attributes) -> bool:
    return any(attributes.get(key, default) != default for key, default in STORAGE.items())


def without_storage(attributes: Attributes) -> Attributes:
    return {key: value for key, value in attributes.items() if key not in STORAGE}


UPGRADES: dict[tuple[str, int], Callable[[Attributes], Attributes]] = {(name, 1): without_storage for name in LAYERS}
"""By operator and version, the function from its attributes to those of the next version."""


class Upgrading:
    """Brings the operators of one text from ``versions``, by name, to the present ones; for ``ir.parse``."""

    def __init__(self, versions: Mapping[str, int]) -> None:
        self.versions = versions
        self.compact: set[Value] = set()

    def __call__(self, name: str, attributes: Attributes, operands: Sequence[Value]) -> Attributes:
        """The attributes in the present version. Raises ``InvalidInput`` if there is no version of the operator."""
        if name not in self.versions:
            raise InvalidInput(f"no version is given for operator {name!r}")
        if name in LAYERS and self.versions[name] == 1 and stores_less(attributes):
            self.compact.update(operands[WEIGHT : WEIGHT + 1])
        for version in range(self.versions[name], REGISTRY[name].version):
            attributes = UPGRADES[name, version](attributes)
        return attributes

    def finish(self, graph: Graph) -> Graph:
        """The graph with what is not said by operators any more: which constants are compact."""
        return self.with_compact(graph) if self.compact else graph

    def with_compact(self, graph: Graph) -> Graph:
        """The graph whose constants among ``compact`` are so, those that bodies of fused operators read, too."""
        for node in graph.nodes:
            if isinstance(node.op, Fused):
                pairs = zip(node.inputs, node.op.body.inputs, strict=True)
                self.compact.update(outer for outer, inner in pairs if inner in self.compact)

        def upgraded(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            op = node.op
            if isinstance(op, Constant) and node.results[0] in self.compact:
                return replace(op, compact=True).apply(name=node.name, origins=node.origins).results
            if isinstance(op, Fused) and any(isinstance(n.op, Constant) for n in op.body.nodes):
                op = Fused(body=self.with_compact(op.body))
                return op.apply(*inputs, name=node.name, origins=node.origins).results
            return None

        return rebuild(graph, upgraded)
