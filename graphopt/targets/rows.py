"""Rows of planes: which rows of its operands a kernel needs for some of its result, and chains that go by rows.

In a *stream* the layers of a chain take turns: each makes as many rows of its result as the next ones need, so that of
what lies between them only a few rows are held at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from graphopt.ir import Graph, Node, Op, TensorType, Value, arg, rebuild
from graphopt.ops import Add, AveragePool, Conv, ConvInteger, MaxPool, Pool, SumPool
from graphopt.targets.layout import Layout
from graphopt.targets.region import Region

ROWS = 2
"""The axis of rows."""
POOLS = (MaxPool, AveragePool, SumPool)
SLIDING = (Conv, ConvInteger, *POOLS)
"""The anchors of which some rows can be computed alone."""


def rows_of(value: Value) -> int:
    return value.type.static_shape[ROWS]


def by_rows(layout: Layout) -> bool:
    """Whether each row of a plane, with all of its channels, is one piece of memory."""
    outside = layout.order[: layout.order.index(ROWS)] if len(layout.shape) > ROWS else layout.order
    return len(layout.shape) > ROWS and layout.dense and all(layout.shape[axis] == 1 for axis in outside)


def with_rows(layout: Layout, rows: int) -> Layout:
    return replace(layout, shape=(*layout.shape[:ROWS], rows, *layout.shape[ROWS + 1 :]))


def row_bytes(value: Value) -> int:
    return value.type.nbytes // rows_of(value)


@dataclass(frozen=True)
class Layer:
    """A region of which some rows can be computed alone.

    One that ``collects`` sums whole planes: it takes rows of its operand, which count as its own, and has its result
    with the last. Its kernel makes so many rows ``together``: fewer take as long.
    """

    region: Region
    collects: bool = False
    together: int = 1

    @property
    def result(self) -> Value:
        return self.region.node.results[0]

    @cached_property
    def window(self) -> tuple[int, int, int]:
        """Stride, extent and padding above, along the rows; those of an elementwise region are 1, 1, 0."""
        anchor = self.region.anchor
        if anchor is None or self.collects:
            return 1, 1, 0
        shapes = [v.type for v in anchor.inputs[1:2]]
        window = anchor.op.window(*shapes)  # type: ignore[attr-defined]
        return window.strides[0], window.extent[0], window.pads[0]

    @cached_property
    def pooled(self) -> int:
        """The rows of the head that make one of the result."""
        tail = self.region.tail
        return tail.op.window().kernel[0] if tail is not None and isinstance(tail.op, Pool) else 1

    @property
    def height(self) -> int:
        """The rows that it makes."""
        return rows_of(self.region.operands[0]) if self.collects else rows_of(self.result)

    @property
    def sums(self) -> TensorType | None:
        """What one that collects has of its result before the last row."""
        return self.region.anchor.types[0] if self.collects and self.region.anchor is not None else None

    def written(self, rows: range) -> int:
        """Up to which byte the result is written once it has some rows."""
        if self.collects:
            return self.result.type.nbytes * (rows.stop == self.height)
        return rows.stop * row_bytes(self.result)

    @property
    def inputs(self) -> Iterator[tuple[Value, Value]]:
        """Each input of the body, and the operand that it stands for."""
        return zip(self.region.body.inputs, self.region.operands, strict=True)

    def reach(self, inner: Value, rows: range) -> range:
        """The rows of an input of the body that windows of some of the result go over, padding among them."""
        start = rows.start * self.pooled
        if self.slides(inner):
            stride, _, pad = self.window
            start = start * stride - pad
        return range(start, math.floor(self.end(inner, Fraction(rows.stop))))

    def end(self, inner: Value, end: Fraction) -> Fraction:
        """Up to which row windows go that make rows up to ``end``, of which the last may be made in part."""
        head = end * self.pooled
        stride, extent, pad = self.window
        return (head - 1) * stride + extent - pad if self.slides(inner) else head

    def slides(self, inner: Value) -> bool:
        """Whether windows go over an input of the body."""
        return inner is self.region.source

    def rounded(self, end: Fraction) -> Fraction:
        """Up to which row it comes that is to come up to one at least: with all rows that it makes together."""
        if self.together == 1:
            return end
        whole = -(-math.floor(end) // self.together) * self.together
        return max(end, Fraction(min(whole, self.height)))

    def needed(self, inner: Value, rows: range) -> range:
        """The rows of an input of the body that some of the result need."""
        reach = self.reach(inner, rows)
        return range(max(0, reach.start), min(rows_of(inner), reach.stop))

    def pads(self, rows: range) -> tuple[int, int]:
        """The rows of padding above and below the windows of some rows."""
        x = self.region.source
        if x is None:
            return 0, 0
        reach = self.reach(x, rows)
        return max(0, -reach.start), max(0, reach.stop - rows_of(x))

    def banded(self, rows: range) -> Region:
        """The region that makes only some rows, of the rows of its operands that these need."""
        body, anchor = self.region.body, self.region.anchor
        if self.collects:
            return self.collecting(rows)

        def cut(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            (value,) = node.results
            if value in body.inputs:
                shape = list(value.type.static_shape)
                shape[ROWS] = len(self.needed(value, rows))
                return (arg(node.name, value.type.dtype, shape),)
            if node is not anchor:
                return None
            return padded(node.op, self.pads(rows)).apply(*inputs, name=node.name, origins=node.origins).results

        return replace(self.region, body=rebuild(body, cut))

    def collecting(self, rows: range) -> Region:
        """Of one that collects: the sums of some rows, added to those before them; the result, if they are the last."""
        body, anchor = self.region.body, self.region.anchor
        assert anchor is not None and isinstance(anchor.op, SumPool)
        (x,), (sums,) = body.inputs, anchor.results
        shape = [*x.type.static_shape]
        shape[ROWS] = len(rows)
        band = arg(x.node.name, x.type.dtype, shape)
        before = [arg("sums", sums.type.dtype, sums.type.static_shape)] if rows.start else []
        found = dataclasses.replace(anchor.op, kernel=tuple(shape[ROWS:]))(band, name=anchor.name)
        total = Add()(found, *before) if before else found
        if rows.stop < self.height:
            return replace(
                self.region, body=Graph((band, *before), (total,)), operands=(*self.region.operands, *before)
            )

        def after(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            return (total,) if node is anchor else None

        ends = rebuild(Graph((x,), body.outputs), after).outputs
        return replace(self.region, body=Graph((band, *before), ends), operands=(*self.region.operands, *before))


def padded(op: Op, pads: tuple[int, int]) -> Op:
    """A window with other padding above and below."""
    given = getattr(op, "pads", ())
    if not given and not any(pads):
        return op
    assert given
    half = len(given) // 2
    return dataclasses.replace(op, pads=(pads[0], *given[1:half], pads[1], *given[half + 1 :]))  # type: ignore[call-arg]


def layer_of(region: Region, layouts: Mapping[Value, Layout]) -> Layer | None:
    """A region as a layer of a stream; None if its rows cannot be computed apart."""
    anchor, head, result = region.anchor, region.head, region.node.results[0]
    tail = region.tail
    if head.type.rank <= ROWS or len(region.node.results) != 1 or (region.tables and not all_constant(region.tables)):
        return None
    if tail is not None and not isinstance(tail.op, MaxPool | AveragePool):
        return None
    if anchor is not None:
        x, others = region.source, anchor.inputs[1:]
        if not isinstance(anchor.op, SLIDING) or not all_constant(others) or x in region.epilogue_operands or x is None:
            return None
        if collects(region):
            return Layer(region, collects=True) if by_rows(layouts[region.operands[0]]) else None
        layer = Layer(region)
        stride, extent, pad = layer.window
        below = (rows_of(head) - 1) * stride + extent - pad - rows_of(x)
        if x not in region.body.inputs or max(pad, below) >= extent:
            return None
    height, rank = rows_of(head), head.type.rank
    for value in region.epilogue_operands:
        shape = value.type.static_shape
        if value.constant is None and (len(shape) != rank or shape[ROWS] != height):
            return None
        if value.constant is not None and len(shape) >= rank - ROWS and shape[len(shape) - rank + ROWS] != 1:
            return None
    if not all(by_rows(layouts[v]) for v in (result, *region.operands)):
        return None
    return Layer(region)


def collects(region: Region) -> bool:
    """Whether a region sums whole planes of one operand, in 32 bits."""
    anchor = region.anchor
    if anchor is None or not isinstance(anchor.op, SumPool) or region.tail is not None or len(region.operands) != 1:
        return False
    plane = anchor.inputs[0].type.static_shape[ROWS:]
    return anchor.op.kernel == plane and not any(anchor.op.pads) and anchor.types[0].dtype == "int32"


def all_constant(values: Sequence[Value]) -> bool:
    return all(v.constant is not None for v in values)


@dataclass(frozen=True)
class Turn:
    """The rows that each layer of a stream makes in a turn, and the first row that is then held of each result.

    ``cycle`` is the same for the turns in which the last layer makes one row.
    """

    made: tuple[range, ...]
    first: tuple[int, ...]
    cycle: int


@dataclass(frozen=True)
class Stream:
    """Layers that follow one another in a graph; in each turn the last one makes so many ``rows``, or a part of one.

    If it is a part, layers of more rows make some of theirs in each turn, and the last one makes a row in the last of a
    cycle of turns.
    """

    layers: tuple[Layer, ...]
    rows: Fraction

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """Each layer makes as few rows as those behind it need; each row is held until its last reader has it.

        The first turns fill what is held, and the last layer makes nothing in them.
        """
        heights = [layer.height for layer in self.layers]
        end = self.rows
        while max(self.ends(end - self.rows)) > 0:
            end -= self.rows
        made, cycles, done = list[tuple[range, ...]](), list[int](), [0] * len(self.layers)
        while done[-1] < heights[-1]:
            ends = [max(d, min(e, h)) for d, e, h in zip(done, self.ends(end), heights, strict=True)]
            made.append(tuple(map(range, done, ends)))
            cycles.append(math.ceil(end))
            done, end = ends, end + self.rows
        firsts, still = list[tuple[int, ...]](), list(done)
        for ranges in reversed(made):
            still = [min(s, rows.start) for s, rows in zip(still, ranges, strict=True)]
            for layer, rows in zip(self.layers, ranges, strict=True):
                for inner, place in self.reads(layer) if rows else ():
                    still[place] = min(still[place], layer.needed(inner, rows).start)
            firsts.append(tuple(still))
        return tuple(Turn(*turn) for turn in zip(made, reversed(firsts), cycles, strict=True))

    def ends(self, end: Fraction) -> list[int]:
        """Up to which row each layer must have come so that the last one comes to ``end``; below 1 for none."""
        ends = {len(self.layers) - 1: end}
        for place, layer in reversed(list(enumerate(self.layers))):
            ends[place] = layer.rounded(ends[place])
            for inner, source in self.reads(layer):
                stop = layer.end(inner, ends[place])
                ends[source] = max(ends.get(source, stop), stop)
        return [math.floor(ends[place]) for place in range(len(self.layers))]

    def reads(self, layer: Layer) -> Iterator[tuple[Value, int]]:
        """The inputs of a layer's body that layers of the stream make, and the places of these in it."""
        return ((inner, self.places[operand]) for inner, operand in layer.inputs if operand in self.places)

    @cached_property
    def places(self) -> Mapping[Value, int]:
        return {layer.result: i for i, layer in enumerate(self.layers)}

    @cached_property
    def held(self) -> tuple[int, ...]:
        """The most rows of each result that are held at a time; of the last one all."""
        most = [max(turn.made[i].stop - turn.first[i] for turn in self.turns) for i in range(len(self.layers) - 1)]
        return (*most, rows_of(self.layers[-1].result))

    def kept(self, place: int) -> bool:
        """Whether rows of a result are held from one turn to the next."""
        return place == len(self.layers) - 1 or any(turn.first[place] < turn.made[place].start for turn in self.turns)

    @cached_property
    def gaps(self) -> Mapping[Value, int]:
        """How far below each operand from outside the result must begin, in bytes, if it is to lie over it.

        No row may be written over one that is still to be read, by the same call or a later one.
        """
        gaps, later = dict[Value, int](), dict[Value, int]()
        for turn in reversed(self.turns):
            for layer, rows in reversed(list(zip(self.layers, turn.made, strict=True))):
                for inner, value in layer.inputs if rows else ():
                    if value not in self.places:
                        start = layer.needed(inner, rows).start * row_bytes(value)
                        later[value] = min(start, later.get(value, start))
                if layer is self.layers[-1]:
                    written = layer.written(rows)
                    gaps |= {value: max(gaps.get(value, 0), written - start) for value, start in later.items()}
        return {value: gaps.get(value, 0) for value in later}

    @cached_property
    def gaps_within(self) -> Mapping[Value, int]:
        """The same of results that are held on: what is written before anything is done with them for the last time.

        In a turn the last layer comes last, and what it reads is there while it writes.
        """
        *others, last = self.layers
        touched: dict[Value, int] = {}
        for turn, before in zip(self.turns, [range(0), *(turn.made[-1] for turn in self.turns)], strict=False):
            for layer, rows in zip(self.layers, turn.made, strict=True):
                values = [layer.result, *layer.region.operands] if rows else []
                written = last.written(turn.made[-1] if layer is last else before)
                touched |= {v: max(written, touched.get(v, 0)) for v in values}
        return {layer.result: touched[layer.result] for i, layer in enumerate(others) if self.kept(i)}
