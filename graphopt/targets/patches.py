"""Convolutions over patches that do not overlap, whose result is read as rows of channels, become matrix products.

A vision transformer begins so. The patches are copied side by side, once; then each of them is a row of a linear layer,
whose result has its channels side by side, as the next layers read them.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.ir import Graph, Node, Value, constant, rebuild
from graphopt.ops import Conv, Linear, Reshape, Transpose


def patches_as_rows(graph: Graph) -> Graph:
    """A bound graph with linear layers for such convolutions."""

    def as_rows(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        reshape = node.inputs[0].node if isinstance(node.op, Transpose) and node.op.perm == (0, 2, 1) else None
        conv = reshape.inputs[0].node if reshape is not None and isinstance(reshape.op, Reshape) else None
        if reshape is None or conv is None or not isinstance(conv.op, Conv):
            return None
        used = max(graph.use_count(conv.results[0]), graph.use_count(reshape.results[0]))
        planar = conv.types[0].rank == 4 and reshape.types[0].static_shape[:2] == conv.types[0].static_shape[:2]
        return (linear(conv, inputs[0].node.inputs[0].node),) if used == 1 and planar and is_of_patches(conv) else None

    return rebuild(graph, as_rows)


def is_of_patches(node: Node) -> bool:
    """Whether patches of several elements are read once each, by one group, in float32, with constant weights."""
    x, w, b = node.inputs
    assert isinstance(node.op, Conv)
    if x.type.dtype != "float32" or w.constant is None or b.constant is None or node.op.group > 1:
        return False
    window = node.op.window(w.type)
    whole = {*window.kernel} != {1} and all(
        size % kernel == 0 for size, kernel in zip(x.type.static_shape[2:], window.kernel, strict=True)
    )
    return whole and window.kernel == window.strides and not any(window.pads) and {*window.dilations} == {1}


def linear(conv: Node, made: Node) -> Value:
    """The result [n, patches, channels] of a convolution, of the operands that ``made`` has."""
    x, w, b = made.inputs
    weight = w.constant
    assert weight is not None
    n, c, *size = x.type.static_shape
    (down, across), (height, width) = weight.shape[2:], size
    pieces = Reshape(shape=(n, c, height // down, down, width // across, across))(x)
    patches = Transpose(perm=(0, 2, 4, 1, 3, 5))(
        pieces, name=conv.name and f"{conv.name}.patches", origins=conv.origins
    )
    rows = Reshape(shape=(n, height * width // (down * across), c * down * across))(patches)
    matrix = constant(weight.reshape(len(weight), -1), like=w)
    return Linear().apply(rows, matrix, b, name=conv.name, origins=conv.origins).results[0]
