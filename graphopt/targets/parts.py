"""Values that lie within others: operands of a concatenation are written to where its result has them, and slices are
read where their operand has them.

So neither is copied, if the kernels around can go by the strides of the larger value. What of a concatenation cannot
be written there is copied to there, by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from graphopt.ir import Constant, Graph, Input, Node, Value, rebuild
from graphopt.ops import Concat, Reshape, Slice
from graphopt.targets.layout import Layout

WORD = 4
"""Bytes. In C parts begin at whole words and are whole words apart: routines have them as they have whole values."""

Layouts = Mapping[Value, Layout]
Fits = Callable[[Node, Layouts], bool]
"""Whether a node has the same kernel in these layouts as it has where all buffers are whole."""


@dataclass(frozen=True)
class Part:
    """The place of a value in the buffer of a larger one: how many elements behind the first of that."""

    whole: Value
    start: int


@dataclass(frozen=True)
class Parts:
    """Which values are parts of others, the layouts of all values, and the concatenations that are so without a kernel.

    A whole value may be a part itself.
    """

    layouts: Layouts
    of: Mapping[Value, Part] = field(default_factory=dict)
    joined: frozenset[Node] = frozenset()
    why: Mapping[Node, Sequence[str]] = field(default_factory=dict)
    """Of concatenations and slices, why something is copied."""

    def place(self, value: Value) -> Part:
        """The value in whose buffer this one is, which is no part: a reshape has the buffer of its operand."""
        start = 0
        while True:
            if part := self.of.get(value):
                value, start = part.whole, start + part.start
            elif isinstance(value.op, Reshape):
                value = value.node.inputs[0]
            else:
                return Part(value, start)

    def alone(self, value: Value) -> bool:
        """Whether a value has all of its buffer."""
        while isinstance(value.op, Reshape) and value not in self.of:
            value = value.node.inputs[0]
        return value not in self.of

    def copied(self, node: Node) -> Iterator[tuple[Value, Layout, int]]:
        """The operands of a joined concatenation that are not where it has them: to which layout, from where on."""
        for value, layout, start in operands(node, self.layouts[node.results[0]]):
            if self.of.get(base(value)) != Part(node.results[0], start):
                yield value, layout, start

    def computes(self, node: Node) -> bool:
        """Whether something runs for a node."""
        if isinstance(node.op, Input | Constant | Reshape):
            return False
        if node in self.joined:
            return any(True for _ in self.copied(node))
        return not (isinstance(node.op, Slice) and self.is_view(node))

    def is_view(self, node: Node) -> bool:
        """Whether a slice is read where its operand is."""
        part = self.of.get(node.results[0])
        return part is not None and part.whole is node.inputs[0]


def base(value: Value) -> Value:
    """What reshapes of a value began with."""
    while isinstance(value.op, Reshape):
        value = value.node.inputs[0]
    return value


def operands(node: Node, whole: Layout) -> Iterator[tuple[Value, Layout, int]]:
    """The operands of a concatenation, and where its result has each: in which layout, from which element on."""
    assert isinstance(node.op, Concat)
    axis = node.op.axis
    sizes = [v.type.static_shape[axis] for v in node.inputs]
    for value, size, stop in zip(node.inputs, sizes, accumulate(sizes), strict=True):
        yield (value, *whole.part(axis, stop - size, size))


def find_parts(
    graph: Graph, layouts: Layouts, fits: Fits, grain: int = 1, apart: Collection[Value] = frozenset()
) -> Parts:
    """The parts that kernels can read and write: concatenations first, the last ones before those within them.

    They begin, and are apart, by multiples of ``grain`` bytes. Values that are to stay ``apart`` are copied.
    """
    finder = Finder(graph, dict(layouts), fits, grain, apart)
    for node in reversed(graph.nodes):
        if isinstance(node.op, Concat):
            finder.join(node)
    for node in graph.nodes:
        if isinstance(node.op, Slice):
            finder.see(node)
    return Parts(finder.layouts, finder.of, frozenset(finder.joined), finder.why)


class Finder:
    """What is found so far."""

    def __init__(
        self, graph: Graph, layouts: dict[Value, Layout], fits: Fits, grain: int, apart: Collection[Value]
    ) -> None:
        self.graph, self.layouts, self.fits, self.grain, self.apart = graph, layouts, fits, grain, apart
        self.of: dict[Value, Part] = {}
        self.joined: set[Node] = set()
        self.outputs = {base(v) for v in graph.outputs}
        self.why: dict[Node, list[str]] = {}

    def join(self, node: Node) -> None:
        """Place operands of a concatenation in its result; one that is a part already stays that."""
        (whole,) = node.results
        for value, layout, start in operands(node, self.layouts[whole]):
            held = base(value)
            why = "the workspace is smaller so" if held in self.apart else self.bound(held)
            why = why or self.refusal(value, layout, start, but=node)
            if why is None:
                self.of[held] = Part(whole, start)
                self.joined.add(node)
            else:
                self.why.setdefault(node, []).append(f"{self.graph.names[value.node]} is copied: {why}")

    def see(self, node: Node) -> None:
        """Read a slice where its operand is."""
        (value,), (source,), op = node.results, node.inputs, node.op
        assert isinstance(op, Slice)
        layout, start = self.layouts[source].part(op.axis, op.start, value.type.static_shape[op.axis], op.step)
        why = "its operand is a constant" if source.constant is not None else self.bound(value)
        why = why or self.refusal(value, layout, start, but=node)
        if why is None:
            self.of[value] = Part(source, start)
        else:
            self.why[node] = [f"it is copied: {why}"]

    def bound(self, held: Value) -> str | None:
        """Why a value must stay where it is; None if it need not."""
        if isinstance(held.op, Input | Constant) or len(held.node.results) > 1:
            return "it is an input, a constant, or one of several results"
        if held in self.outputs:
            return "it is an output"
        return "it has its place in a concatenation" if held in self.of else None

    def refusal(self, value: Value, layout: Layout, start: int, but: Node) -> str | None:
        """Why a value cannot have a layout; None if all kernels that write and read it allow that, ``but`` one of them.

        Then it has it.
        """
        before = self.layouts[value]
        if not layout.orders_as(before):
            return "its axes are in another order"
        if not self.aligned(value, layout, start):
            return "it would not be at whole words"
        if layout.dense and before.dense:
            return None
        if isinstance(value.op, Reshape):
            return "it is another shape of a value"
        self.layouts[value] = layout
        around = [value.node, *dict.fromkeys(self.graph.uses[value])]
        for node in around:
            if node is not but and not self.allows(node, layout):
                self.layouts[value] = before
                return f"{self.graph.names[node]} needs it whole"
        return None

    def aligned(self, value: Value, layout: Layout, start: int) -> bool:
        size = np.dtype(value.type.dtype).itemsize
        apart = [stride for count, stride in zip(layout.shape, layout.apart, strict=False) if count > 1 < stride]
        return not any(size * distance % self.grain for distance in (start, *apart))

    def allows(self, node: Node, layout: Layout) -> bool:
        """Whether a node takes a value in a layout, which is tried."""
        if isinstance(node.op, Reshape):
            return layout.dense and layout.is_row_major
        return node in self.joined or self.fits(node, self.layouts)


def regrouped(graph: Graph) -> Graph:
    """The graph with concatenations of others' operands as those of their results, and of all slices of one as of it.

    So values that several concatenations have in common, as in a DenseNet, can be parts of all of them.
    """
    known: dict[Value, list[Node]] = {}

    def regroup(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Concat):
            return None
        joined = with_others(node.op, without_slices(node.op, inputs), known)
        if len(joined) == 1:
            joined = inputs
        results = node.op.apply(*joined, name=node.name, origins=node.origins).results
        known.setdefault(joined[0], []).append(results[0].node)
        return results

    return rebuild(graph, regroup)


def without_slices(op: Concat, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """The operands, where slices that follow one another are all of a value, that value."""
    found: list[Value] = []
    for value in inputs:
        found.append(value)
        if isinstance(value.op, Slice) and (source := value.node.inputs[0]).constant is None:
            found = ended(found, op.axis, source)
    return tuple(found)


def ended(values: list[Value], axis: int, source: Value) -> list[Value]:
    """Values of which the last are all slices of a source, with it in their place."""
    begin = source.type.static_shape[axis]
    for at in reversed(range(len(values))):
        op, inputs = values[at].op, values[at].node.inputs
        if not isinstance(op, Slice) or (op.axis, op.stop, op.step) != (axis, begin, 1) or inputs[0] is not source:
            break
        begin = op.start
        if begin == 0:
            return [*values[:at], source]
    return values


def with_others(op: Concat, inputs: tuple[Value, ...], known: Mapping[Value, Sequence[Node]]) -> tuple[Value, ...]:
    """The operands, with results of other concatenations in the place of what they join; ``known`` by the first."""
    others = [other for value in inputs for other in known.get(value, ()) if other.op == op]
    for other in others:
        size = len(other.inputs)
        found = (at for at in range(len(inputs) - size + 1) if inputs[at : at + size] == other.inputs)
        at = next(found, None)
        if at is not None and size < len(inputs):
            inputs = (*inputs[:at], other.results[0], *inputs[at + size :])
            others += [more for more in known.get(other.results[0], ()) if more.op == op]
    return inputs
