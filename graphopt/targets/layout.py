"""Memory layouts: the order of a value's elements in its buffer."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from networkx.utils import UnionFind

from graphopt.ir import Constant, Graph, Input, Op, Trait, Value
from graphopt.ops import Fused, Reshape, Transpose


@dataclass(frozen=True)
class Layout:
    """The physical order of the axes, outermost first.

    Elements are dense, unless they are a part of a larger value: then ``apart`` has the stride of each axis there.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    apart: tuple[int, ...] = ()

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each logical axis, in elements."""
        if self.apart:
            return self.apart
        strides, step = [0] * len(self.shape), 1
        for axis in reversed(self.order):
            strides[axis] = step
            step *= self.shape[axis]
        return tuple(strides)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dense(self) -> bool:
        return not self.apart

    @property
    def extent(self) -> int:
        """The elements of memory from the first one to the last."""
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    def part(self, axis: int, start: int, size: int, step: int = 1) -> tuple[Layout, int]:
        """So many elements along an axis, where they are; and how far behind the first of all theirs is."""
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        strides = (*self.strides[:axis], step * self.strides[axis], *self.strides[axis + 1 :])
        whole = Layout(shape, self.order)
        same = all(n == 1 or a == b for n, a, b in zip(shape, strides, whole.strides, strict=True))
        return whole if same else Layout(shape, self.order, strides), start * self.strides[axis]

    def orders_as(self, other: Layout) -> bool:
        """Whether the axes are in the order of another one; axes of one element do not count."""
        return [a for a in self.order if self.shape[a] != 1] == [a for a in other.order if self.shape[a] != 1]

    @property
    def is_row_major(self) -> bool:
        """Whether elements are in row-major order; axes of one element do not count."""
        wide = [a for a in self.order if self.shape[a] != 1]
        return wide == sorted(wide)


def row_major(shape: tuple[int, ...]) -> Layout:
    return Layout(shape, tuple(range(len(shape))))


def channels_last(shape: tuple[int, ...]) -> Layout:
    """[n, c, *spatial] stored as n, spatial, c: the layout in which convolutions vectorize best."""
    return Layout(shape, (0, *range(2, len(shape)), 1))


def assign_layouts(graph: Graph, last: Collection[Value] = ()) -> dict[Value, Layout]:
    """A layout for every value of a bound graph; ``last`` are the inputs and outputs with channels last.

    Other inputs, outputs and constants keep the model's row-major order. So do both sides of a reshape,
    which is then free. Other values are channels-last if a window over spatial axes reads or writes
    them, directly or through operators that keep the layout; the rest are row-major.
    """
    fixed = {*graph.inputs, *graph.outputs}
    spatial = spatial_values(graph)
    layouts = {}
    for node in graph.nodes:
        for value in node.results:
            shape = value.type.static_shape
            reshaped = isinstance(node.op, Reshape) or any(reshapes(u.op) for u in graph.uses[value])
            plain = value in fixed or value.constant is not None or isinstance(node.op, Input)
            inner = value in spatial and not plain and not reshaped
            layouts[value] = channels_last(shape) if inner or value in last else row_major(shape)
    return layouts


def reshapes(op: Op) -> bool:
    """Whether an operator reads its operands by another shape."""
    return isinstance(op, Reshape) or (isinstance(op, Fused) and any(reshapes(n.op) for n in op.body.nodes))


def chooses_layout(op: Op) -> bool:
    """Whether the result may have another layout than the operands."""
    return isinstance(op, Transpose) or (Trait.PRODUCT in op.traits and Trait.WINDOW not in op.traits)


def spatial_values(graph: Graph) -> set[Value]:
    """The values with spatial axes that windows read or write, and those that share a layout with one of them.

    Kernels of windows vectorize over channels.
    """
    alike = UnionFind([v for node in graph.nodes for v in node.results])
    windows: list[Value] = []
    for node in graph.nodes:
        ops = [n.op for n in (node.op.body.nodes if isinstance(node.op, Fused) else (node,))]
        if isinstance(node.op, Input | Constant | Reshape):
            continue
        if any(Trait.WINDOW in op.traits for op in ops):
            windows += [v for v in (*node.inputs, *node.results) if v.type.rank > 2]
        if not any(chooses_layout(op) for op in ops):
            same = [v for v in node.inputs if v.type.rank == node.results[0].type.rank and v.constant is None]
            alike.union(*node.results, *same)
    roots = {alike[v] for v in windows}
    return {v for node in graph.nodes for v in node.results if v.type.rank > 2 and alike[v] in roots}
