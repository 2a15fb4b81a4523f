"""Fusion: an operator, the elementwise ones after it and perhaps a pooling become one node, one kernel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphopt.ir import Graph, Node, TensorType, Trait, Value, arg
from graphopt.ops import AveragePool, Conv, ConvInteger, Fused, Lookup, MaxPool, Pool, ReduceMean, Reduction
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Exact

ANCHORS = Trait.PRODUCT | Trait.WINDOW | Trait.REDUCTION | Trait.ELEMENTWISE


@dataclass
class FusionGroup:
    """Nodes that become one: an anchor and its followers, each of which reads the one before."""

    nodes: list[Node]
    closed: bool = False

    @property
    def result(self) -> Value:
        return self.nodes[-1].results[0]


@dataclass
class Grouping:
    """The growing groups of a graph, by their last node."""

    graph: Graph
    groups: dict[Node, FusionGroup] = field(default_factory=dict)
    refused: list[tuple[Node, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = {node: i for i, node in enumerate(self.graph.nodes)}
        for node in self.graph.nodes:
            if not self.join(node) and node.op.traits & ANCHORS:
                self.groups[node] = FusionGroup([node])

    def join(self, node: Node) -> bool:
        """Append a node to one of the groups that it reads: the one that ends last, so that every operand exists."""
        open_ = [group for v in node.inputs if (group := self.groups.get(v.node)) and self.accepts(group, node)]
        if not open_:
            return False
        group = max(open_, key=lambda g: self.place[g.nodes[-1]])
        del self.groups[group.nodes[-1]]
        group.nodes.append(node)
        group.closed = Trait.ELEMENTWISE not in node.op.traits
        self.groups[node] = group
        return True

    def accepts(self, group: FusionGroup, node: Node) -> bool:
        follows = Trait.ELEMENTWISE in node.op.traits or (
            isinstance(node.op, Pool | Reduction) and isinstance(group.nodes[0].op, Conv | ConvInteger)
        )
        if not follows or group.closed:
            return False
        why = self.obstacle(group, node)
        if why:
            self.refused.append((node, f"not fused behind {self.graph.names[group.nodes[-1]]}: {why}"))
        return not why

    def obstacle(self, group: FusionGroup, node: Node) -> str | None:
        """Why a node cannot follow a group; None if it can."""
        value = group.result
        if (uses := self.graph.use_count(value)) > 1:
            return f"that has {uses} uses"
        if Trait.ELEMENTWISE not in node.op.traits:
            return tail_obstacle(node, value.type)
        if isinstance(node.op, Lookup) and value is not node.inputs[0]:
            return "it is the table of a lookup"
        if node.types[0].shape != value.type.shape:
            return f"it broadcasts {value.type} to {node.types[0]}"
        return None


def tail_obstacle(node: Node, x: TensorType) -> str | None:
    """Why a pooling or reduction cannot end a kernel that computes ``x`` [n, c, *s] by rows; None if it can."""
    if isinstance(node.op, Reduction):
        whole = isinstance(node.op, ReduceMean) and node.op.axes == tuple(range(2, x.rank))
        return None if whole else "only a mean over all spatial axes ends a convolution"
    if not isinstance(node.op, MaxPool | AveragePool):
        return f"{node.op.name} does not end a convolution"
    window = node.op.window()
    if window.strides != window.kernel:
        return f"its windows of {window.kernel} overlap or leave gaps at strides {window.strides}"
    if any(window.pads):
        return f"it has pads {window.pads}"
    if window.dilations != (1,) * window.rank:
        return f"it has dilations {window.dilations}"
    sizes = x.with_shape(x.shape[2:]).static_shape
    if any(s % k for s, k in zip(sizes, window.kernel, strict=True)):
        return f"its windows of {window.kernel} do not divide {sizes}"
    return None


class Fuse(Pass, name="fuse", contract=Exact()):
    """Make one ``fused`` node from an anchor and the operators after it.

    An anchor is a conv, conv_transpose, linear, matmul, pooling, reduction, resize, or an elementwise
    operator (unary, binary, batch_norm, comparisons, logic, where, lookup). Elementwise operators follow it as long
    as they keep the shape of the result; their other operands may be any values. After a conv, one pooling may end
    the group: a mean over all spatial axes, or a max_pool or average_pool whose windows tile its input (the strides
    equal the kernel, which divides the sizes; no pads, no dilations).

    The operands of the fused node are those of its body in order of first use, each once. The inputs
    of the body have the names of the nodes that produce them. The node takes the name of its last operator; the nodes
    of the body keep theirs.

    Declines: a value with other readers (the graph's outputs count); an operator that broadcasts
    the result to another shape; other poolings. An operator that could follow two anchors follows the
    later one. Notes say why.

    No cycle can arise. Only the last value of a group leaves it, and it depends on the whole group. So
    if an operand depended on the fused node, it would depend on the operator that reads it.
    """

    def run(self, graph: Graph, context: Context) -> Graph:
        grouping = Grouping(graph)
        groups = {node: group for node, group in grouping.groups.items() if len(group.nodes) > 1}
        taken = {node for group in groups.values() for node in group.nodes}
        context.notes += [
            Note(self.name, graph.names[node], f"fuses {', '.join(graph.names[n] for n in group.nodes)}")
            for node, group in groups.items()
        ]
        followed = {node for group in groups.values() for node in group.nodes[1:]}
        context.notes += [
            Note(self.name, graph.names[node], why, declined=True)
            for node, why in grouping.refused
            if node not in followed
        ]
        new: dict[Value, Value] = {}
        for node in graph.nodes:
            if node in groups:
                new[node.results[0]] = fused(groups[node], graph, new)
            elif node not in taken:
                kept = node.with_inputs([new[v] for v in node.inputs])
                new.update(zip(node.results, kept.results, strict=True))
        return replace(graph, inputs=tuple(new[v] for v in graph.inputs), outputs=tuple(new[v] for v in graph.outputs))


def fused(group: FusionGroup, graph: Graph, new: dict[Value, Value]) -> Value:
    """The fused node of a group, on the rebuilt operands."""
    inside = {v for node in group.nodes for v in node.results}
    outside = dict.fromkeys(v for node in group.nodes for v in node.inputs if v not in inside)
    body = {v: arg(graph.names[v.node], v.type.dtype, v.type.shape) for v in outside}
    parameters = tuple(body.values())
    for node in group.nodes:
        inner = node.op.apply(*(body[v] for v in node.inputs), name=node.name, origins=node.origins)
        body.update(zip(node.results, inner.results, strict=True))
    op = Fused(body=Graph(parameters, (body[group.result],), name="body"))
    origins = tuple(dict.fromkeys(o for node in group.nodes for o in node.origins))
    return op(*(new[v] for v in outside), name=group.nodes[-1].name, origins=origins)
