"""Insertion: choose the values of a float graph that become integers, and build the QDQ graph with their parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import networkx as nx
import numpy as np

from graphopt.ir import (
    Array,
    Graph,
    Node,
    QParams,
    Value,
    constant,
    integer_limits,
    symmetric,
)
from graphopt.ops import SCALE_GROUP, Binarize, Clip, Concat, Dequantize, Quantize, Relu, two_level
from graphopt.passes.quantize.form import BIAS_STEPS, IntegerRule, rule_of
from graphopt.passes.quantize.masks import asks_for_mask
from graphopt.passes.quantize.norms import is_norm_of_layer
from graphopt.passes.quantize.scheme import Scheme


@dataclass(frozen=True, eq=False)
class Partition:
    """A graph and the part of it that will compute on integers.

    ``rules`` has the nodes of that part with their rules; ``absorbed`` are the values between them that stay
    unquantized. ``states`` are recurrent states, and values that moves connect with them; they need 16 bits.
    ``initial`` are the states that a layer reads.
    """

    graph: Graph
    rules: Mapping[Node, IntegerRule]
    absorbed: frozenset[Value]
    states: frozenset[Value]

    @property
    def initial(self) -> set[Value]:
        return {v for node, rule in self.rules.items() for v in initial_states(node, rule)}

    def operands(self, node: Node) -> Iterator[Value]:
        """The activations that a chosen node reads as integers."""
        for position, value in enumerate(node.inputs):
            if (
                value.type.dtype == "float32"
                and value.constant is None
                and position not in dict(self.rules[node].weights)
            ):
                yield value

    @property
    def values(self) -> list[Value]:
        """The values that become integers, in the order of the graph."""
        wanted = {v for node in self.rules for v in self.operands(node)}
        wanted |= {v for node in self.rules for v in node.results if v.type.dtype == "float32"}
        return [v for node in self.graph.nodes for v in node.results if v in wanted and v not in self.absorbed]


def choose(graph: Graph, scheme: Scheme, floats: Collection[Node] = ()) -> Partition:
    """The integer part of a graph: every operator with an integer form, except moves that lead to none that computes.

    ``floats`` are nodes that stay float whatever the scheme says.
    """
    names = graph.names
    candidates = {
        node: rule
        for node in graph.nodes
        if node not in floats and (rule := rule_of(node.op)) and not scheme.is_float(names[node]) and fits(node, rule)
    }
    useful = met_by_work(graph, candidates)
    rules = {node: rule for node, rule in candidates.items() if node in useful}
    absorbed = frozenset(v for node in rules for v in absorbed_by(graph, node, rules))
    return Partition(graph, rules, absorbed, frozenset(recurrent_states(graph, rules)))


def fits(node: Node, rule: IntegerRule) -> bool:
    """Whether a node computes on float32, and its weights are constant if its rule requires that."""
    if any(t.dtype != "float32" for t in node.types):
        return False
    if any(node.inputs[position].constant is None for position, _ in rule.weights):
        return False
    return all(v.type.dtype != "float32" or 0 not in v.type.shape for v in node.inputs)


def met_by_work(graph: Graph, candidates: Mapping[Node, IntegerRule]) -> set[Node]:
    """The candidates that compute, and the moves that lead to one of them through moves alone."""
    links = nx.Graph()
    links.add_nodes_from(candidates)
    for node in candidates:
        links.add_edges_from((node, v.node) for v in node.inputs if v.node in candidates)
    working = {node for node, rule in candidates.items() if not rule.move}
    return {n for part in nx.connected_components(links) if part & working for n in part}


def initial_states(node: Node, rule: IntegerRule) -> list[Value]:
    """The initial states of a layer that are not constant."""
    return [] if rule.states is None else [v for v in node.inputs[rule.states[0] :] if v.constant is None]


def recurrent_states(graph: Graph, rules: Mapping[Node, IntegerRule]) -> Iterator[Value]:
    """The states that carry over from run to run or layer to layer, and values that only moves connect with them.

    These are initial states, and final states that become an output of the graph.
    """
    links = nx.Graph()
    initial, final = set[Value](), set[Value]()
    for node in graph.nodes:
        rule = rule_of(node.op)
        # of layers that stay float too
        if rule is not None and rule.states is not None:
            initial |= set(initial_states(node, rule))
            final |= set(node.results[rule.states[1] :])
        if node in rules and (rules[node].move or isinstance(node.op, Concat)):
            links.add_edges_from((v, r) for v in node.inputs if v.constant is None for r in node.results)
    links.add_nodes_from(initial | final)
    for part in nx.connected_components(links):
        if part & initial or (part & final and part & set(graph.outputs)):
            yield from part


def absorbed_by(graph: Graph, node: Node, rules: Mapping[Node, IntegerRule]) -> Iterator[Value]:
    """The operand of a clamp that becomes that of an accumulator, or of a norm that folds into its layer."""
    if isinstance(node.op, Relu | Clip):
        (x,) = node.inputs
        producer = rules.get(x.node)
        if producer and producer.activates and graph.use_count(x) == 1:
            yield x
    elif is_norm_of_layer(graph, node) and node.inputs[0].node in rules:
        yield node.inputs[0]


def weight_parameters(
    node: Node, rule: IntegerRule, position: int, scheme: Scheme, name: str, x: QParams | None
) -> QParams:
    """The parameters of one weight: symmetric, per channel or per tensor; the scale is large enough for the bias."""
    weight = node.inputs[position].constant
    assert weight is not None
    bits = scheme.weight_bits(name)
    if scheme.is_grouped(name) and weight.shape[1] >= SCALE_GROUP:
        bits = 8  # for the scale of the channel; divided by the factors, 4 bits are left to store
    channels = dict(rule.weights)[position]
    grouped = channels == 1 and getattr(node.op, "group", 1) > 1
    axis = channels if scheme.per_channel and not grouped else None
    others = tuple(a for a in range(weight.ndim) if a != axis)
    magnitude = np.abs(weight).mean(axis=others) if bits == 1 else np.abs(weight).max(axis=others)
    bias = node.inputs[rule.bias].constant if rule.bias is not None else None
    if x is not None and bias is not None:
        most = np.abs(bias) / (float(x.scale) * BIAS_STEPS)
        floor = np.asarray(most if axis is not None else most.max(initial=0.0))
        magnitude = np.maximum(magnitude, floor * symmetric(1.0, bits).scale ** -1)
    return symmetric(magnitude, bits, axis)


def quantize_weight(weight: Array, parameters: QParams, grouped: bool = False) -> Array:
    """Weights rounded to nearest, or to the grid of their group factors; binary weights become -1 or 1, never 0."""
    if grouped:
        scale, _ = parameters.columns(weight.ndim)
        return two_level(weight.astype(np.float64) / scale)
    if parameters.bits == 1:
        return np.where(weight < 0, -1, 1).astype("int8")
    return parameters.quantize(weight)


def insert(
    partition: Partition,
    parameters: Mapping[Value, QParams],
    scheme: Scheme,
    signs: Mapping[Node, QParams] = MappingProxyType({}),
    masked: Collection[Value] = (),
    narrowed: Mapping[Node, QParams] = MappingProxyType({}),
) -> Graph:
    """The graph with a quantize and a dequantize after each chosen value, and weights as dequantized integers.

    ``signs`` are the parameters of the first operand of nodes that read only its signs. In ``masked`` values the lowest
    integer stands for -inf; a comparison with -inf becomes a comparison with the number of that integer. Nodes that are
    ``narrowed`` read their first operand in other parameters than it has. Values with the same parameters read the same
    constants.
    """
    names = partition.graph.names
    constants: dict[QParams, tuple[Value, Value]] = {}
    new: dict[Value, Value] = {}
    through: dict[Value, Value] = {}
    for node in partition.graph.nodes:
        rule = partition.rules.get(node)
        inputs = [new[v] for v in node.inputs]
        lowest = [parameters[v] for v in node.inputs if v in masked and v.node in partition.rules]
        if lowest and asks_for_mask(node):
            inputs = [number_of_mask(v, lowest[0]) if v.constant is not None else new[v] for v in node.inputs]
        if rule is not None:
            inputs = [through.get(v, new[v]) for v in node.inputs]
            if node in signs:
                inputs[0] = Binarize()(inputs[0], constant(signs[node].scale, f"{names[node]}.input_scale"))
            elif node in narrowed:
                chosen, name = narrowed[node], f"{names[node]}.input"
                inputs[0] = fake_quantized(inputs[0], *constants.setdefault(chosen, of_parameters(chosen, name)), name)
            for position, _ in rule.weights:
                x = signs.get(node) or narrowed.get(node) or parameters.get(node.inputs[0])
                old = node.inputs[position]
                chosen = weight_parameters(node, rule, position, scheme, names[node], x)
                grouped = scheme.is_grouped(names[node]) and chosen.bits == 8
                assert old.constant is not None
                inputs[position] = dequantized_weight(old, quantize_weight(old.constant, chosen, grouped), chosen)
        for old, made in zip(node.results, node.with_inputs(inputs).results, strict=True):
            new[old] = made
            if old in parameters:
                name, chosen = names[node], parameters[old]
                through[old] = fake_quantized(made, *constants.setdefault(chosen, of_parameters(chosen, name)), name)
                # what is integer anyway is read as such by everyone; what is not, only by those who want it
                if rule is not None:
                    new[old] = through[old]
    graph = partition.graph
    return replace(graph, inputs=tuple(new[v] for v in graph.inputs), outputs=tuple(new[v] for v in graph.outputs))


def number_of_mask(like: Value, parameters: QParams) -> Value:
    """The number that the lowest integer stands for, in place of a constant -inf."""
    least = np.asarray(integer_limits(parameters.bits)[0], parameters.dtype)
    return constant(np.full(like.type.static_shape, parameters.dequantize(least)), f"{like.node.name}.lowest")


def of_parameters(parameters: QParams, name: str) -> tuple[Value, Value]:
    """Scale and zero point as constants."""
    return constant(parameters.scale, f"{name}.scale"), constant(parameters.zero_point, f"{name}.zero_point")


def fake_quantized(x: Value, scale: Value, zero: Value, name: str) -> Value:
    return Dequantize()(Quantize()(x, scale, zero, name=f"{name}.quantized"), scale, zero, name=f"{name}.dequantized")


def dequantized_weight(like: Value, integers: Array, parameters: QParams) -> Value:
    """Dequantized integers with the name of the weight ``like``."""
    name = like.node.name
    scale, zero = of_parameters(parameters, name)
    weight = constant(integers, like=like)
    return Dequantize(axis=parameters.axis or 0)(weight, scale, zero, name=f"{name}.dequantized")
