"""Find and replace the constant integer weights of layers in a QDQ graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphopt.ir import Array, Graph, Node, QParams, Value, constant, rebuild
from graphopt.ops import ConvXnor, Decompress, IntegerProduct, is_grouped, stored_bits, stored_bytes, stored_form
from graphopt.passes.quantize.form import Quantized, dequantized, rule_of
from graphopt.passes.quantize.insert import dequantized_weight


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """A node, its integer weights, and their position among its operands; the bias is the last operand."""

    node: Node
    weight: Quantized
    position: int

    @property
    def bits(self) -> int:
        return stored_bits(self.integers)

    @property
    def integers(self) -> Array:
        assert self.weight.array is not None
        return self.weight.array


def quantized_layers(graph: Graph, grouped: bool = False) -> dict[Node, QuantizedLayer]:
    """The layers of a graph with dequantized weights and a constant bias, in its order.

    Unless ``grouped``, layers with grouped weights are left out: weights that are chosen one by one would break their
    factors.
    """
    found = {}
    for node in graph.nodes:
        rule = rule_of(node.op)
        if rule is None or rule.bias is None or node.inputs[rule.bias].constant is None:
            continue
        ((position, _),) = rule.weights
        weight = dequantized(node.inputs[position])
        if weight is None or weight.array is None or (is_grouped(weight.array) and not grouped):
            continue
        if weight.dtype == "int8":
            found[node] = QuantizedLayer(node, weight, position)
    return found


def packed_weights(graph: Graph) -> dict[str, tuple[int, int]]:
    """The bits of a weight and the stored bytes of all, by layer on integers, without scales and biases."""
    found = {}
    for node in graph.nodes:
        if isinstance(node.op, IntegerProduct):
            weight = node.inputs[1]
            parts = weight.node.inputs if isinstance(weight.op, Decompress) else (weight,)
            found[graph.names[node]] = stored_form(weight).bits(weight.type.dtype), sum(map(stored_bytes, parts))
        elif isinstance(node.op, ConvXnor):
            found[graph.names[node]] = 1, node.inputs[1].type.nbytes
    return found


@dataclass(frozen=True, eq=False)
class NewWeights:
    """New weights for a layer: a bias, and integers with their parameters, or None to keep its own."""

    bias: Array
    weight: tuple[Array, QParams] | None = None

    def operands(self, layer: QuantizedLayer) -> dict[int, Array]:
        """The float operands with which the layer computes, by position."""
        given = {len(layer.node.inputs) - 1: self.bias}
        if self.weight is not None:
            integers, parameters = self.weight
            given[layer.position] = parameters.dequantize(integers)
        return given


def with_weights(graph: Graph, layers: Mapping[Node, QuantizedLayer], new: Mapping[Node, NewWeights]) -> Graph:
    """The graph with new weights and biases in some of its layers."""

    def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in new:
            return None
        given, operands = new[node], list(inputs)
        operands[-1] = constant(given.bias, like=node.inputs[-1])
        if given.weight is not None:
            operands[layers[node].position] = dequantized_weight(layers[node].weight.value, *given.weight)
        return node.with_inputs(operands).results

    return rebuild(graph, replaced)
