"""Ports with their channels last beside reshapes, which want row-major elements: copies reorder them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from graphopt.ir import Graph, Node, Value, rebuild
from graphopt.ops import Identity, Reshape
from graphopt.targets.layout import channels_last, reshapes
from graphopt.targets.ports import PortOptions


def reorder_ports(graph: Graph, options: PortOptions) -> Graph:
    """A bound graph with a copy between each reshape and the ports that it would read or write in another order."""
    names = [(graph.names[v.node], v) for v in graph.inputs]
    names += zip(graph.output_names, graph.outputs, strict=True)
    last = {v for name, v in names if name in options.channels_last and not is_row_major(v)}
    if not last:
        return graph
    copied = copies("reordered")

    def read_apart(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not reshapes(node.op) or last.isdisjoint(node.inputs):
            return None
        operands = [copied(new) if old in last else new for old, new in zip(node.inputs, inputs, strict=True)]
        return node.with_inputs(operands).results

    apart = rebuild(graph, read_apart)
    outputs = [
        copied(new) if old in last and isinstance(new.op, Reshape) else new
        for old, new in zip(graph.outputs, apart.outputs, strict=True)
    ]
    return replace(apart, outputs=tuple(outputs))


def copies(what: str) -> Callable[[Value], Value]:
    """A function to the copy of a value, named after ``what`` was done; each value has one."""

    @cache
    def copied(value: Value) -> Value:
        return Identity()(value, name=f"{value.node.name}.{what}", origins=value.node.origins)

    return copied


def is_row_major(value: Value) -> bool:
    """Whether channels last are row-major too, since the plane has one element or there is one channel."""
    return channels_last(value.type.static_shape).is_row_major
