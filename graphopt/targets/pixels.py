"""Inputs of bytes: what they stand for as operators of the graph, and as a table where the graph quantizes that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, arg, constant, rebuild
from graphopt.ops import Cast, ChannelLookup, Div, FlipSign, Lookup, Mul, Quantize, Sub
from graphopt.passes import Context, Fuse
from graphopt.targets.port import BYTES, Port

EVERY_BYTE = np.arange(256, dtype=np.uint8)
FLIPPED = FlipSign().evaluate(EVERY_BYTE)
"""The table of bytes that become int8 by less than a table."""


def with_pixels(graph: Graph, ports: Mapping[str, Port]) -> Graph:
    """The graph with inputs of bytes where the ports say so, by name."""
    for value in graph.inputs:
        port = ports.get(graph.names[value.node])
        if port is not None and port.dtype == BYTES and value.type.is_float:
            graph = of_pixels(graph, value, port)
    return graph


def of_pixels(graph: Graph, value: Value, port: Port) -> Graph:
    """The graph with one input of bytes: a quantize of it becomes a table, other readers get what bytes stand for."""
    name, once = graph.names[value.node], list[Value]()
    pixels = arg(name, BYTES, value.type.shape)

    def reals() -> Value:
        if not once:
            once.append(alone(pixels, normalized(pixels, port, value.type.dtype), f"{name}.normalized"))
        return once[0]

    def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node is value.node:
            return (pixels,)
        if value not in node.inputs:
            return None
        table = table_of(node, value, port)
        if table is not None:
            return (looked_up(pixels, table, node),)
        return node.with_inputs(as_read(node.inputs, inputs)).results

    def as_read(old: Sequence[Value], new: Sequence[Value]) -> list[Value]:
        return [reals() if v == value else made for v, made in zip(old, new, strict=True)]

    found = rebuild(graph, replaced)
    return replace(found, outputs=tuple(as_read(graph.outputs, found.outputs)))


def normalized(pixels: Value, port: Port, dtype: str) -> Value:
    """(pixels * scale - mean) / std, by the operations that are not idle."""
    rest = [1] * (pixels.type.rank - 2)

    def number(values: Sequence[float]) -> Value:
        data = np.asarray(values, dtype)
        return constant(data.reshape(-1, *rest) if len(values) > 1 else data[0])

    x = Cast(to=dtype)(pixels)
    if port.factor != 1:
        x = Div()(x, number([1 / port.factor])) if abs(port.factor) < 1 else Mul()(x, number([port.factor]))
    if any(port.means):
        x = Sub()(x, number(port.means))
    if any(s != 1 for s in port.stds):
        x = Div()(x, number(port.stds))
    return x


def alone(x: Value, y: Value, name: str) -> Value:
    """What is computed of an input, as one node of that name."""
    fused = Fuse().run(Graph((x,), (y,)), Context())
    node = fused.outputs[0].node
    return node.op(*(x if v in fused.inputs else v for v in node.inputs), name=name)


def table_of(node: Node, value: Value, port: Port) -> Array | None:
    """What a quantize of an input gives for every byte, [channels or 1, 256]; None of other nodes."""
    if not isinstance(node.op, Quantize) or node.inputs[0] is not value:
        return None
    scale, zero = (v.constant for v in node.inputs[1:])
    by_channel = scale is not None and scale.ndim == 1 and node.op.axis == 1
    if scale is None or zero is None or (scale.ndim and not by_channel):
        return None
    rank = value.type.rank
    several = by_channel or len(port.means) > 1 or len(port.stds) > 1
    channels = value.type.with_shape(value.type.shape[1:]).static_shape[:1] if several else (1,)
    shape = (256, *channels, *[1] * (rank - 2)) if rank > 1 else (256,)
    pixels = arg("pixels", BYTES, shape)
    real = normalized(pixels, port, value.type.dtype)
    meaning = Graph((pixels,), (node.op(real, constant(scale), constant(zero)),))
    every = np.broadcast_to(EVERY_BYTE.reshape(256, *[1] * (len(shape) - 1)), shape)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(meaning(every)[0].reshape(256, -1).T)


def looked_up(pixels: Value, table: Array, node: Node) -> Value:
    """The elements of a table by bytes, in the shortest form, in the place of a node."""
    (first, *_), dtype = table, table.dtype
    if dtype == EVERY_BYTE.dtype and (table == EVERY_BYTE).all():
        return pixels
    name = f"{node.name}.table"
    if dtype == FLIPPED.dtype and (table == FLIPPED).all():
        made = FlipSign().apply(pixels, name=node.name, origins=node.origins)
    elif (table == first).all():
        made = Lookup().apply(pixels, constant(first, name), name=node.name, origins=node.origins)
    else:
        made = ChannelLookup().apply(pixels, constant(table, name), name=node.name, origins=node.origins)
    return made.results[0]
