"""Copies of planes of many channels that are row-major where kernels go by channels: inputs, outputs, what is reshaped.

Convolutions, and what is elementwise around them, read and write vectors of channels. Where these stand in planes of
their own, they would go element by element, each from another line of the cache, or all from lines of one set. A copy
turns tiles in registers instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from graphopt.ir import Graph, Node, Trait, Value, rebuild
from graphopt.ops import Fused
from graphopt.targets.layout import Layout, channels_last
from graphopt.targets.port_order import copies

LEAST_CHANNELS = 8
LEAST_PIXELS = 256
"""Of a plane that is worth a copy: the channels of a smaller one are near each other."""


def turn_planes(graph: Graph, layouts: Mapping[Value, Layout]) -> Graph:
    """A bound graph with these copies; ``layouts`` has those of its values, each in a buffer of its own."""
    copied = copies("turned")

    def turn(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not goes_by_channels(node, layouts):
            return None
        read = [is_turned(layouts[old]) and old.constant is None for old in node.inputs]
        (result,) = node.results
        written = is_turned(layouts[result])
        if not any(read) and not written:
            return None
        operands = [copied(new) if turned else new for new, turned in zip(inputs, read, strict=True)]
        (made,) = node.with_inputs(operands).results
        return (copied(made),) if written else (made,)

    return rebuild(graph, turn)


def goes_by_channels(node: Node, layouts: Mapping[Value, Layout]) -> bool:
    """Whether a node is a convolution, or elementwise and has planes with their channels last."""
    body = node.op.body.nodes if isinstance(node.op, Fused) else (node,)
    traits = [n.op.traits for n in body if n.inputs]
    if any(Trait.PRODUCT | Trait.WINDOW in t for t in traits):
        return True
    elementwise = bool(traits) and all(Trait.ELEMENTWISE in t for t in traits)
    return elementwise and any(is_wide(layouts[v]) and is_last(layouts[v]) for v in (*node.inputs, *node.results))


def is_wide(layout: Layout) -> bool:
    """Whether a layout is of planes of many channels."""
    _, channels, *size = layout.shape if len(layout.shape) > 2 else (0, 0)
    return channels >= LEAST_CHANNELS and math.prod(size) >= LEAST_PIXELS


def is_last(layout: Layout) -> bool:
    return layout.orders_as(channels_last(layout.shape))


def is_turned(layout: Layout) -> bool:
    """Whether a copy turns a value of a layout."""
    return is_wide(layout) and not is_last(layout)
