"""Layers that go by rows for LLVM: planes that are too large for the second cache are made and read in turns.

The layers are those that compute little of each element: convolutions of single pixels, and depthwise ones. They wait
for memory where the plane between them is larger than that cache, and not for a few rows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from graphopt.ir import Value
from graphopt.ops import Conv
from graphopt.targets.gathering import Lowering
from graphopt.targets.rows import Layer, Stream, row_bytes
from graphopt.targets.streams import Choice, Part, added

CACHE = 1 << 20
"""Bytes of the second cache, about. Planes that are larger go by rows, of which half of it holds what is held."""
MOST_LAYERS = 4
"""Of a stream."""
HEIGHTS = (32, 16, 8, 4, 2, 1)
"""Rows that the last layer of a stream may make in a turn."""


def for_caches(whole: Lowering) -> list[Part]:
    """Streams one after the other, each of as many layers as may be in one."""
    if not any(is_large(value) for node in whole.computing for value in node.results):
        return []
    choice, parts, stop = Choice(whole), list[Part](), 0
    spans = sorted(choice.spans, key=lambda span: (span[0], -span[1]))
    for first, end in spans:
        layers = [layer for layer in choice.layers[first:end] if layer is not None]
        if first < stop or len(layers) > MOST_LAYERS or not all(map(is_light, layers)):
            continue
        if not all(is_large(layer.result) for layer in layers[:-1]):
            continue
        stream = next(fitting(layers), None)
        if stream is not None:
            parts.append(Part(first, end, held_bytes(stream), added(stream, whole.target), stream))
            stop = end
    return parts


def is_large(value: Value) -> bool:
    """Whether the second cache does not hold a plane; products of bytes compute too much of what they read."""
    return value.type.is_float and value.type.nbytes >= CACHE


def is_light(layer: Layer) -> bool:
    """Whether a layer computes little of each element, and the same of some rows as of all."""
    anchor = layer.region.anchor
    if anchor is None:
        return True
    if not isinstance(anchor.op, Conv) or layer.region.tail is not None:
        return False
    channels, *window = anchor.inputs[1].type.static_shape[1:]
    return {*window} == {1} or channels == 1


def fitting(layers: Sequence[Layer]) -> Iterator[Stream]:
    """The streams of layers whose rows fit into the cache, that of the most rows in a turn first."""
    for rows in HEIGHTS:
        stream = Stream(tuple(layers), Fraction(rows))
        if rows < layers[-1].height and held_bytes(stream) <= CACHE // 2:
            yield stream


def held_bytes(stream: Stream) -> int:
    """Of what lies between the layers."""
    return sum(rows * row_bytes(layer.result) for rows, layer in zip(stream.held[:-1], stream.layers, strict=False))
