"""Operators on integers along the rows of a tensor become one, so that what they hold between them is a row.

That is a reduction over the last axes, what it reads, and what reads it, up to a result of the shape of the rows: as
long as nothing else reads what is between them. What no longer reads anything of the rows is fused behind it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from graphopt.errors import Unsupported
from graphopt.ir import Constant, Graph, Input, Node, Op, Value, arg
from graphopt.ops import Fused
from graphopt.rewrite import Decline
from graphopt.targets.kernels.rows import as_one, side_by_side
from graphopt.targets.layout import Layout, row_major
from graphopt.targets.region import Region, elements_of, region_of
from graphopt.targets.row_chain import INTERVALS, REDUCTIONS, RowChain, proof_of
from graphopt.targets.scalars import is_scalar
from graphopt.targets.tir import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of a shape along its last axes."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def single(self) -> tuple[int, ...]:
        """The shape of a number for each row."""
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(self.shape))

    def has(self, node: Node) -> bool:
        """Whether a node of a body computes along the rows what can be proved not to overflow."""
        if isinstance(node.op, REDUCTIONS):
            return node.op.axes == self.axes and node.op.keepdims and node.inputs[0].type.shape == self.shape
        return type(node.op) in INTERVALS and node.types[0].shape in (self.shape, self.single)


@dataclass(frozen=True)
class Group:
    """Nodes along the same rows, the last of which is all that others read, as a chain and what is fused behind it.

    The inputs of ``chain`` stand for the values ``outside``.
    """

    nodes: tuple[Node, ...]
    outside: tuple[Value, ...]
    chain: RowChain
    behind: tuple[Node, ...]


@dataclass(frozen=True)
class Joining:
    """A graph whose nodes are gathered, in layouts for its values."""

    graph: Graph
    layouts: Mapping[Value, Layout]
    supported: set[type[Op]]

    @cached_property
    def place(self) -> dict[Node, int]:
        return {node: i for i, node in enumerate(self.graph.nodes)}

    @cached_property
    def regions(self) -> dict[Node, Region]:
        """Of the nodes that compute integers, elementwise or along rows."""
        found = dict[Node, Region]()
        for node in self.graph.nodes:
            if is_plain(node) and not node.types[0].is_float:
                with suppress(Unsupported):
                    region = region_of(node, self.supported)
                    found |= {} if region.moves or region.end else {node: region}
        return found

    def groups(self) -> list[Group]:
        """Those of all rows that something reduces; no node is in two of them."""
        found, taken = list[Group](), set[Node]()
        anchors = [region.anchor for region in self.regions.values() if region.anchor is not None]
        known = dict.fromkeys(rows for node in anchors if (rows := rows_of(node)))
        for node in reversed(self.regions if known else {}):
            options = [rows for rows in known if rows.shape == node.types[0].shape and node not in taken]
            group = next((g for rows in options if (g := self.group(node, rows))), None)
            if group is not None:
                found.append(group)
                taken |= {*group.nodes}
        return found

    def group(self, last: Node, rows: Rows) -> Group | None:
        """The largest group that ends with a node; None if it reduces nothing, or there would be no kernel for it."""
        nodes = self.grown(last, rows)
        if not any(isinstance(n.op, REDUCTIONS) for node in nodes for n in self.regions[node].compute):
            return None
        compute, inner = self.regions[last].compute, dict(self.operands(last))
        reading = [i for i, n in enumerate(compute) if any(v in inner and inner[v].node in nodes for v in n.inputs)]
        if not reading or not all(map(rows.has, compute[: reading[-1] + 1])):
            return None
        kept, behind = compute[: reading[-1] + 1], compute[reading[-1] + 1 :]
        made = dict[Value, Value]()
        for node in nodes:
            for _, operand in self.operands(node):
                if operand not in made:
                    made[operand] = arg(f"x{len(made)}", operand.type.dtype, operand.type.shape)
            values = {v: made[operand] for v, operand in self.operands(node)}
            made[node.results[0]] = applied(kept if node is last else self.regions[node].compute, values)
        outside = tuple(v for v, inside in made.items() if isinstance(inside.op, Input))
        body = Graph(tuple(made[v] for v in outside), (made[last.results[0]],), name="body")
        of_body = (*behind, *(n for n in body.nodes if not isinstance(n.op, Input | Constant)))
        numbers = [v for n in of_body for v in elements_of(n) if v.constant is not None and v.constant.size > 1]
        also = [operand for _, operand in self.operands(last) if operand.node not in nodes]
        chain = RowChain(axes=rows.axes, body=body)
        if not all(self.walkable(v, rows) for v in (*outside, *last.results, *also, *numbers)) or not is_proved(chain):
            return None
        return Group(nodes, outside, chain, behind)

    def grown(self, last: Node, rows: Rows) -> tuple[Node, ...]:
        """The node and what computes along the rows before it, and is read by nothing else, in the order of the graph.

        The latest nodes are asked first: then all that read a node are known.
        """
        nodes, waiting = {last}, [-self.place[v.node] for v in last.inputs]
        heapq.heapify(waiting)
        while waiting:
            node = self.graph.nodes[-heapq.heappop(waiting)]
            if node in nodes or node not in self.regions or not all(map(rows.has, self.regions[node].compute)):
                continue
            (value,) = node.results
            if value not in self.graph.outputs and nodes.issuperset(self.graph.uses[value]):
                nodes.add(node)
                for operand in node.inputs:
                    heapq.heappush(waiting, -self.place[operand.node])
        return tuple(sorted(nodes, key=self.place.__getitem__))

    def operands(self, node: Node) -> list[tuple[Value, Value]]:
        """The inputs of the body of a region, and what they stand for."""
        region = self.regions[node]
        return [*zip(region.body.inputs, region.operands, strict=True)]

    def walkable(self, value: Value, rows: Rows) -> bool:
        """Whether the elements of a row stand side by side, or are one and the same."""
        layout = self.layouts[value] if value in self.layouts else row_major(value.type.static_shape)
        tensor = Tensor(None, value.type.dtype, layout.shape, layout.strides)
        if value.type.shape == rows.shape:
            return side_by_side(tensor, rows.axes)
        return as_one(tensor.broadcast(rows.shape), rows.axes)


def is_plain(node: Node) -> bool:
    """Whether a node has neither products nor windows nor moves."""
    inner = node.op.body.nodes if isinstance(node.op, Fused) else (node,)
    known = all(isinstance(n.op, (Input, Constant, *REDUCTIONS)) or is_scalar(type(n.op)) for n in inner)
    return known and not isinstance(node.op, Input | Constant)


def rows_of(node: Node) -> Rows | None:
    """The rows that a reduction goes along, if they are those of the last axes, and of more than one element."""
    if not isinstance(node.op, REDUCTIONS) or not node.op.axes or not node.op.keepdims:
        return None
    shape, axes = node.inputs[0].type.static_shape, node.op.axes
    last = axes == tuple(range(len(shape) - len(axes), len(shape)))
    return Rows(shape, axes) if last and shape[-1] > 1 else None


def is_proved(chain: RowChain) -> bool:
    try:
        proof_of(chain)
    except Decline:
        return False
    return True


def applied(nodes: Sequence[Node], values: dict[Value, Value]) -> Value:
    """The result of the last of some nodes, on other values in the place of those given; constants are kept."""
    for node in nodes:
        made = node.op.apply(*(values.get(v, v) for v in node.inputs), name=node.name, origins=node.origins)
        values.update(zip(node.results, made.results, strict=True))
    return values[nodes[-1].results[0]]


def join_rows(graph: Graph, layouts: Mapping[Value, Layout], supported: set[type[Op]]) -> Graph:
    """The graph with one node for each group along rows; ``layouts`` has those of its values."""
    joining = Joining(graph, layouts, supported)
    groups = {group.nodes[-1]: group for group in joining.groups()}
    taken = {node for group in groups.values() for node in group.nodes}
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        if node in groups:
            new[node.results[0]] = joined(groups[node], joining.operands(node), new)
        elif node not in taken:
            kept = node.with_inputs([new[v] for v in node.inputs])
            new.update(zip(node.results, kept.results, strict=True))
    return replace(graph, inputs=tuple(new[v] for v in graph.inputs), outputs=tuple(new[v] for v in graph.outputs))


def joined(group: Group, last_operands: Sequence[tuple[Value, Value]], new: Mapping[Value, Value]) -> Value:
    """The node of a group, on the rebuilt operands."""
    last = group.nodes[-1]
    origins = tuple(dict.fromkeys(o for node in group.nodes for o in node.origins))
    if not group.behind:
        return group.chain(*(new[v] for v in group.outside), name=last.name, origins=origins)
    read = {v for node in group.behind for v in node.inputs}
    also = [operand for inner, operand in last_operands if inner in read and operand not in group.outside]
    outside = tuple(dict.fromkeys((*group.outside, *also)))
    parameters = {v: arg(f"x{i}", v.type.dtype, v.type.shape) for i, v in enumerate(outside)}
    values = {inner: parameters[operand] for inner, operand in last_operands if operand in parameters}
    chained = group.chain(*(parameters[v] for v in group.outside), name=last.name, origins=origins)
    before = next(v for v in group.behind[0].inputs if v.constant is None and v not in values)
    values[before] = chained
    body = Graph(tuple(parameters.values()), (applied(group.behind, values),), name="body")
    return Fused(body=body)(*(new[v] for v in outside), name=last.name, origins=origins)
