"""Poolings at the end of fused convolutions, taken off where routines compute convolutions.

Fused, they keep the plane between from memory, but a routine stores whole rows of results: then each tile goes through
scratch, and planes of few channels have no routine at all. By rows the plane between is small too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphopt.ir import Graph, Node, Value, rebuild
from graphopt.ops import ConvInteger, Fused, MaxPool
from graphopt.targets.target import Target

ROUTINES = {"dsp", "mve"}
"""The instruction sets whose convolutions store whole rows of results."""


def tails_apart(graph: Graph, target: Target) -> Graph:
    """The graph with the maximum behind a convolution of integers as a node of its own."""
    if ROUTINES.isdisjoint(target.isa):
        return graph

    def cut(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Fused):
            return None
        body = node.op.body
        tail = body.outputs[0].node
        if not isinstance(tail.op, MaxPool) or not any(isinstance(n.op, ConvInteger) for n in body.nodes):
            return None
        convolved = Fused(body=replace(body, outputs=tail.inputs))
        name = tail.inputs[0].node.name or node.name
        plane = convolved.apply(*inputs, name=name, origins=node.origins).results
        return tail.op.apply(*plane, name=node.name, origins=node.origins).results

    made = rebuild(graph, cut)
    return made if len(made.nodes) > len(graph.nodes) else graph
