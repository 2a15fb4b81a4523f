"""Memory layouts: in which order the elements of a value stand in its buffer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphopt.ir import Graph, Input, Value
from graphopt.ops import Reshape


@dataclass(frozen=True)
class Layout:
    """The physical order of the axes, outermost first; elements are dense in it."""

    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index to the next, by logical axis."""
        strides, step = [0] * len(self.shape), 1
        for axis in reversed(self.order):
            strides[axis] = step
            step *= self.shape[axis]
        return tuple(strides)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_row_major(self) -> bool:
        """Whether elements stand in row-major order; axes of one element do not count."""
        wide = [a for a in self.order if self.shape[a] != 1]
        return wide == sorted(wide)


def row_major(shape: tuple[int, ...]) -> Layout:
    return Layout(shape, tuple(range(len(shape))))


def channels_last(shape: tuple[int, ...]) -> Layout:
    """[n, c, *spatial] stored as n, spatial, c: what convolutions vectorise best over."""
    return Layout(shape, (0, *range(2, len(shape)), 1))


def assign_layouts(graph: Graph) -> dict[Value, Layout]:
    """A layout for every value of a bound graph.

    Inputs, outputs and constants keep the model's row-major order, as do both sides of a reshape,
    which is then free; other values with spatial axes are channels-last.
    """
    fixed = {*graph.inputs, *graph.outputs}
    layouts = {}
    for node in graph.nodes:
        for value in node.results:
            shape = value.type.static_shape
            reshaped = isinstance(node.op, Reshape) or any(isinstance(u.op, Reshape) for u in graph.uses[value])
            plain = len(shape) < 3 or value in fixed or value.constant is not None or isinstance(node.op, Input)
            layouts[value] = row_major(shape) if plain or reshaped else channels_last(shape)
    return layouts
