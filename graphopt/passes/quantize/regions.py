"""Regions of a graph of quantize and dequantize: what lies between one quantize and the next; made float again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from glob import escape

from graphopt.ir import Graph, Input, Node, QParams, Value, rebuild, topological
from graphopt.ops import Binarize, Dequantize, Quantize
from graphopt.passes.quantize.form import rule_of
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


def with_floats(graph: Graph, reference: Graph, chosen: Collection[Region]) -> Graph:
    """The graph with some regions in float: what they read and give as it is, their weights those of the reference."""
    dequantized = {region.dequantize for region in chosen}
    layers = {region.layer.node: region.layer for region in chosen if region.layer}
    signs = {n for region in chosen for n in region.nodes if isinstance(n.op, Binarize)}
    originals = {reference.names[node]: node for node in reference.nodes}

    def in_float(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node in dequantized:
            return (inputs[0].node.inputs[0],)
        if node in signs:
            return inputs[:1]
        if node in layers and graph.names[node] in originals:
            given, original = list(inputs), originals[graph.names[node]]
            for position in (layers[node].position, len(inputs) - 1):
                given[position] = original.inputs[position]
            return node.with_inputs(given).results
        return None

    return rebuild(graph, in_float)
