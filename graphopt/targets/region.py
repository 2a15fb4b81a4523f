"""Regions: the part of a graph that one kernel computes, split into anchor, epilogue and what ends it.

Before a matrix product of two run-time operands, or in an elementwise region, there may be moves of operands; behind
such a product there may be a transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphopt.errors import Unsupported
from graphopt.ir import Constant, Graph, Input, Node, Op, Value, constant, rebuild, verify
from graphopt.ops import (
    AveragePool,
    Cast,
    ChannelLookup,
    Conv,
    ConvTranspose,
    Fused,
    IntegerProduct,
    Linear,
    Lookup,
    MatMul,
    MatMulInteger,
    MaxPool,
    ReduceMean,
    Reshape,
    Transpose,
)
from graphopt.rewrite.legalize import legalize
from graphopt.targets.attention import BY_STRIDES
from graphopt.targets.scalars import is_scalar
from graphopt.targets.views import MOVES

IN_PLACE_ANCHORS = (Conv, ConvTranspose, Linear, MatMul, IntegerProduct, MatMulInteger)
"""Anchors whose kernels write each element of the result once, after all reads for it."""


@dataclass(frozen=True)
class Region:
    """A region: ``body`` computes the result of ``node``; the inputs of ``body`` are the operands at run time."""

    node: Node
    body: Graph
    operands: tuple[Value, ...]

    @cached_property
    def compute(self) -> tuple[Node, ...]:
        return tuple(n for n in self.body.nodes if not isinstance(n.op, Input | Constant))

    @cached_property
    def lead(self) -> Node | None:
        """The table through which the anchor, a product of integers, reads the elements of its operand, if any."""
        first = next(iter(self.compute), None)
        if first is None or not isinstance(first.op, Lookup | ChannelLookup):
            return None
        reads = (isinstance(n.op, IntegerProduct) and n.inputs[0] is first.results[0] for n in self.compute)
        return first if any(reads) else None

    @cached_property
    def anchor(self) -> Node | None:
        """The one node that is not elementwise, does not end the region, and is no move or table before others."""
        heavy = [n for n in self.compute if not is_scalar(type(n.op)) and n is not self.lead]
        products = [n for n in heavy if not isinstance(n.op, MOVES)]
        if products:
            return products[0]
        return heavy[0] if heavy and len(heavy) == len(self.compute) else None

    @cached_property
    def source(self) -> Value | None:
        """What the anchor reads first, perhaps through a table."""
        front = self.lead or self.anchor
        return None if front is None else front.inputs[0]

    @cached_property
    def moves(self) -> tuple[Node, ...]:
        """The moves that something else in the region reads through."""
        last = self.body.outputs[0].node
        return tuple(n for n in self.compute if isinstance(n.op, MOVES) and n is not self.anchor and n is not last)

    @cached_property
    def end(self) -> Node | None:
        """The last node, if it is neither the anchor nor elementwise; else None."""
        last = self.body.outputs[0].node
        return last if last is not self.anchor and not is_scalar(type(last.op)) else None

    @cached_property
    def tail(self) -> Node | None:
        """The pooling that ends the region, if it is not the anchor; else None."""
        return None if self.turn else self.end

    @cached_property
    def turn(self) -> Node | None:
        """The transpose that ends the region, if it is not the anchor; else None."""
        return self.end if self.end and isinstance(self.end.op, Transpose) else None

    @cached_property
    def epilogue(self) -> tuple[Node, ...]:
        """The elementwise nodes behind the anchor."""
        others = {*self.moves, self.lead, self.anchor, self.end}
        return tuple(n for n in self.compute if n not in others)

    @cached_property
    def epilogue_operands(self) -> tuple[Value, ...]:
        """The operands of the epilogue that are not results of the region's own nodes."""
        own = {*self.compute} - {*self.moves}
        return tuple(dict.fromkeys(v for n in self.epilogue for v in elements_of(n) if v.node not in own))

    @cached_property
    def tables(self) -> tuple[Value, ...]:
        """The operands of the epilogue that are read at computed positions."""
        return tuple(dict.fromkeys(v for n in self.epilogue for v in tables_of(n)))

    @cached_property
    def pointwise_operands(self) -> tuple[Value, ...]:
        """The inputs of the body whose elements are each read just before the result's is written, and never again."""
        if self.end is not None or (self.anchor is not None and not isinstance(self.anchor.op, IN_PLACE_ANCHORS)):
            return ()
        elsewhere = {*(v for n in (*self.moves, self.anchor) if n for v in n.inputs), *self.tables}
        candidates = [v for v in self.body.inputs if v in self.epilogue_operands and v not in elsewhere]
        return tuple(v for v in candidates if v.type == self.head.type)

    @cached_property
    def head(self) -> Value:
        """The result of the anchor and the epilogue, before what ends the region."""
        return self.end.inputs[0] if self.end else self.body.outputs[0]


def tables_of(node: Node) -> tuple[Value, ...]:
    """The operands of an elementwise operator that are read at computed positions."""
    return node.inputs[1:] if isinstance(node.op, Lookup) else ()


def elements_of(node: Node) -> tuple[Value, ...]:
    """The operands that an elementwise operator reads element by element."""
    return node.inputs[:1] if isinstance(node.op, Lookup) else node.inputs


def region_of(node: Node, supported: set[type[Op]]) -> Region:
    """The region of a node; its constant operands move into the body, and the body is legalized."""
    if isinstance(node.op, Fused):
        body = node.op.body
    else:
        inner = [Input(type=v.type)(name=f"x{i}") for i, v in enumerate(node.inputs)]
        body = Graph(tuple(inner), node.op.apply(*inner, name=node.name).results)
    given = dict(zip((v.node for v in body.inputs), node.inputs, strict=True))

    def inline(inside: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        data = given[inside].constant if inside in given else None
        return None if data is None else (constant(data, like=given[inside]),)

    inlined = rebuild(body, inline)
    kept = [(v, given[old.node]) for v, old in zip(inlined.inputs, body.inputs, strict=True) if v.constant is None]
    body = Graph(tuple(v for v, _ in kept), inlined.outputs)
    region = Region(node, fold_moves(lowerable(body, supported)), tuple(o for _, o in kept))
    check_form(region)
    return region


def fold_moves(body: Graph) -> Graph:
    """The body with reshapes and casts of constants computed; decompositions use them for their parameters."""
    (result,) = body.outputs

    def fold(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Reshape | Cast) or inputs[0].constant is None or node is result.node:
            return None
        return (constant(np.asarray(node.op.evaluate(inputs[0].constant)), like=inputs[0]),)

    return rebuild(body, fold)


def is_elementwise(node: Node, supported: set[type[Op]]) -> bool:
    """Whether an operator without a lowering decomposes into a single elementwise kernel."""
    if len(node.types) != 1:
        return False
    try:
        region = region_of(node, supported) if node.op.decompose(*node.inputs) is not None else None
        return region is not None and region.anchor is None and not region.moves
    except Unsupported:
        return False


def check_form(region: Region) -> None:
    """Raise ``Unsupported`` unless the body is at most one anchor, then elementwise nodes, then at most one pooling.

    Of a matrix product, and of elementwise nodes alone, operands may be moved; of a product, its result transposed. A
    product of integers may read its operand through a table.
    """
    anchor, tail = region.anchor, region.tail
    scalar = all(is_scalar(type(n.op)) for n in region.epilogue)
    leads = anchor is None or (
        anchor is region.compute[len(region.moves) + (region.lead is not None)]
        and anchor.types[0].shape == region.head.type.shape
    )
    computed = any(v.node in region.compute for v in region.tables)
    if not scalar or not leads or not moves_fit(region) or computed or (tail is not None and not tiles(tail)):
        what = f"a kernel of {', '.join(n.op.name for n in region.compute)} has no lowering"
        raise Unsupported(what, where=region.node.name or None, advice="fuse with graphopt.passes.Fuse, or not at all")


def moves_fit(region: Region) -> bool:
    """Whether all moves are of operands, and stand where kernels read, or write, through them."""
    product = region.anchor is not None and isinstance(region.anchor.op, BY_STRIDES)
    others = {*region.compute} - {*region.moves}
    of_operands = not any(v.node in others for move in region.moves for v in move.inputs)
    return of_operands and (product or (region.turn is None and (region.anchor is None or not region.moves)))


def tiles(tail: Node) -> bool:
    """Whether the windows of a pooling neither overlap nor leave gaps, or it is the mean over all spatial axes."""
    x = tail.inputs[0].type
    if isinstance(tail.op, ReduceMean):
        return tail.op.axes == tuple(range(2, x.rank))
    if not isinstance(tail.op, MaxPool | AveragePool):
        return False
    window = tail.op.window()
    plain = window.strides == window.kernel and not any(window.pads) and set(window.dilations) == {1}
    return plain and not any(s % k for s, k in zip(x.static_shape[2:], window.kernel, strict=True))


def lowerable(graph: Graph, supported: set[type[Op]], keep: Callable[[Node], bool] = lambda node: False) -> Graph:
    """The graph in operators that have a lowering, except for nodes to ``keep``.

    The parts of a node have its name and its origins. Raises ``Unsupported`` with all nodes that have neither a
    lowering nor a decomposition.
    """
    kept = {*supported, Reshape, Fused}
    graph = legalize(graph, lambda node: type(node.op) in kept or keep(node), no_lowering)
    verify(graph)
    return graph


def no_lowering(nodes: str) -> Unsupported:
    return Unsupported(f"no lowering for {nodes}", advice="give the operator a kernel or decompose()")
