"""Regions of a QDQ graph: the nodes between one quantize and the next. They can be made float again."""

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
class QuantizedRegion:
    """The nodes from dequantized values to one quantize and its dequantize, and the layer with weights among them."""

    nodes: tuple[Node, ...]
    quantize: Node
    dequantize: Node
    layer: QuantizedLayer | None

    @property
    def head(self) -> Node:
        """The node that gives a region its name."""
        return self.layer.node if self.layer else self.nodes[0]

    @property
    def value(self) -> Value:
        """The value that is quantized."""
        return self.quantize.inputs[0]

    @property
    def parameters(self) -> QParams:
        scale, zero = (v.constant for v in self.quantize.inputs[1:])
        assert scale is not None and zero is not None
        return QParams(scale, zero, 8 * zero.itemsize)


def regions(graph: Graph) -> list[QuantizedRegion]:
    """The region of every quantize of a graph with constant scalar parameters."""
    layers, found = quantized_layers(graph), []
    edges = {node for node in graph.nodes if isinstance(node.op, Dequantize)}
    for node in graph.nodes:
        if isinstance(node.op, Quantize) and wanted_of(node.inputs) is not None:
            inside = [n for n in topological(node.inputs[:1], after=edges) if n.inputs or isinstance(n.op, Input)]
            layer = next((layers[n] for n in inside if n in layers), None)
            readers = [n for n in graph.uses[node.results[0]] if isinstance(n.op, Dequantize)]
            found += [QuantizedRegion(tuple(inside), node, reader, layer) for reader in readers[:1]]
    return found


def override_names(graph: Graph, region: QuantizedRegion) -> list[str]:
    """The patterns with which ``overrides`` would name the nodes of a region."""
    return [escape(graph.names[n]) for n in region.nodes if rule_of(n.op) is not None]


def in_float(graph: Graph, reference: Graph, chosen: Collection[QuantizedRegion], kept: Collection[Node] = ()) -> Graph:
    """The graph with some regions in float: their results are not quantized, and constants are those of the reference.

    Nodes in ``kept`` stay quantized, since regions may share nodes.
    """
    dequantized = {region.dequantize for region in chosen}
    floats = {node for region in chosen for node in region.nodes if node not in kept}
    originals = {reference.names[node]: node for node in reference.nodes}

    def as_reals(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node in dequantized:
            return (inputs[0].node.inputs[0],)
        if node in floats and isinstance(node.op, Binarize):
            return inputs[:1]
        original = originals.get(graph.names[node])
        if node not in floats or original is None or len(original.inputs) != len(inputs):
            return None
        pairs = zip(original.inputs, inputs, strict=True)
        return node.with_inputs([v if v.constant is not None else x for v, x in pairs]).results

    return rebuild(graph, as_reals)
