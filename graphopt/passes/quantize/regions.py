"""Regions of a graph of quantize and dequantize: what lies between one quantize and the next, made float or wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape

import numpy as np

from graphopt.ir import Graph, Input, Node, QParams, Value, asymmetric, rebuild, topological
from graphopt.ops import Dequantize, Quantize
from graphopt.passes.quantize.form import rule_of
from graphopt.passes.quantize.insert import fake_quantized
from graphopt.passes.quantize.layers import QuantizedLayer, quantized_layers
from graphopt.passes.quantize.lower import wanted_of


@dataclass(frozen=True, eq=False)
class Region:
    """The nodes from dequantized values to one quantize and its dequantize, and the layer with weights among them."""

    nodes: tuple[Node, ...]
    quantize: Node
    dequantize: Node
    layer: QuantizedLayer | None

    @property
    def head(self) -> Node:
        """The node that a region is named after."""
        return self.layer.node if self.layer else self.nodes[0]

    @property
    def value(self) -> Value:
        """What is quantized."""
        return self.quantize.inputs[0]

    @property
    def parameters(self) -> QParams:
        scale, zero = (v.constant for v in self.quantize.inputs[1:])
        assert scale is not None and zero is not None
        return QParams(scale, zero, 8 * zero.itemsize)


def regions(graph: Graph) -> list[Region]:
    """Every quantize of a graph whose parameters are constant scalars, with what it quantizes."""
    layers, found = quantized_layers(graph), []
    edges = {node for node in graph.nodes if isinstance(node.op, Dequantize)}
    for node in graph.nodes:
        if isinstance(node.op, Quantize) and wanted_of(node.inputs) is not None:
            inside = [n for n in topological(node.inputs[:1], after=edges) if n.inputs or isinstance(n.op, Input)]
            layer = next((layers[n] for n in inside if n in layers), None)
            readers = [n for n in graph.uses[node.results[0]] if isinstance(n.op, Dequantize)]
            found += [Region(tuple(inside), node, reader, layer) for reader in readers[:1]]
    return found


def override_names(graph: Graph, region: Region) -> list[str]:
    """The patterns by which ``overrides`` would name the nodes of a region."""
    return [escape(graph.names[n]) for n in region.nodes if rule_of(n.op) is not None]


def treated(graph: Graph, reference: Graph, treatment: Mapping[Region, str]) -> Graph:
    """The graph with some regions ``float32``, with the weights of the reference, or with ``int16`` activations."""
    by_quantize = {region.quantize: how for region, how in treatment.items()}
    layers = {r.layer.node: r.layer for r, how in treatment.items() if r.layer and how == "float32"}
    originals = {reference.names[node]: node for node in reference.nodes}
    wide = {r.quantize: widened(r.parameters) for r, how in treatment.items() if how == "int16"}

    def treat(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node in layers and graph.names[node] in originals:
            given = list(inputs)
            original = originals[graph.names[node]]
            for position in (layers[node].position, len(inputs) - 1):
                given[position] = original.inputs[position]
            return node.with_inputs(given).results
        source = node.inputs[0].node if isinstance(node.op, Dequantize) else None
        if source is None or source not in by_quantize:
            return None
        plain = inputs[0].node.inputs[0]
        return (fake_quantized(plain, wide[source], source.name),) if source in wide else (plain,)

    return rebuild(graph, treat)


def widened(parameters: QParams) -> QParams:
    """Parameters of 16 bits for the reals that those of 8 bits stand for."""
    limits = np.iinfo(parameters.dtype)
    low, high = (float(x) for x in parameters.dequantize(np.array([limits.min, limits.max], parameters.dtype)))
    return asymmetric(low, high, 16)
