"""Finds attention in graphs: two products, and between them a softmax and elementwise operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphopt.ir import Constant, Graph, Input, Node, Op, Value, arg, rebuild
from graphopt.ops import Fused, Softmax
from graphopt.targets.attention import PRODUCTS, Attention
from graphopt.targets.region import region_of
from graphopt.targets.scalars import is_scalar

LEAST_ROWS = 16
"""Fewer rows have few scores, and products that heads share a right operand of would be taken apart."""


def join_attention(graph: Graph, supported: set[type[Op]]) -> Graph:
    """A bound graph, of operators that are ``supported``, with one operator for each attention in it."""
    found, taken = dict[Node, list[Node]](), set[Node]()
    for node in graph.nodes:
        nodes = nodes_to(graph, node)
        if nodes and taken.isdisjoint(nodes):
            found[node] = nodes
            taken.update(nodes)
    given: dict[Node, tuple[Value, ...]] = {}

    def join(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        given[node] = inputs
        return joined(found[node], given, supported) if node in found else None

    return rebuild(graph, join)


def nodes_to(graph: Graph, last: Node) -> list[Node]:
    """The nodes of an attention that ends in this one, in order; none if there is no such attention."""
    if not is_product(last) or last.types[0].rank < 2 or last.types[0].static_shape[-2] < LEAST_ROWS:
        return []
    nodes, waiting, rows = {last}, [left_operand(last)], last.types[0].shape[:-1]
    while waiting:
        value = waiting.pop()
        if value is None or value.node in nodes or value.type.shape[:-1] != rows:
            continue
        if is_product(value.node):
            nodes.add(value.node)
        elif goes_by_rows(value.node):
            nodes.add(value.node)
            waiting += value.node.inputs
    inside = {value for node in nodes for value in node.results if node is not last}
    apart = any(v in graph.outputs or not nodes.issuperset(graph.uses[v]) for v in inside)
    between = any(isinstance(op, Softmax) for node in nodes for op in operators(node))
    products = [node for node in nodes if is_product(node)]
    if apart or not between or len(products) != 2:
        return []
    return [node for node in graph.nodes if node in nodes]


def operators(node: Node) -> list[Op]:
    """What a node computes."""
    body = node.op.body.nodes if isinstance(node.op, Fused) else (node,)
    return [inner.op for inner in body if not isinstance(inner.op, Input | Constant)]


def is_product(node: Node) -> bool:
    """Whether a node is a matrix product of two run-time operands, with what is elementwise behind it."""
    first, *others = operators(node) or [node.op]
    return isinstance(first, PRODUCTS) and all(is_scalar(type(op)) for op in others)


def goes_by_rows(node: Node) -> bool:
    """Whether some rows of a node's result need the same rows of its operands alone."""
    rank, ops = node.types[0].rank, operators(node)
    along = [op for op in ops if not is_scalar(type(op))]
    return bool(ops) and len(along) <= 1 and all(isinstance(op, Softmax) and op.axis % rank == rank - 1 for op in along)


def left_operand(node: Node) -> Value | None:
    """The operand of a node that its product reads as the left one, if it reads it so alone."""
    if not isinstance(node.op, Fused):
        return node.inputs[0] if node.inputs.count(node.inputs[0]) == 1 else None
    body = node.op.body
    product = next(n for n in body.nodes if isinstance(n.op, PRODUCTS))
    inner = product.inputs[0]
    once = inner in body.inputs and body.use_count(inner) == 1
    return node.inputs[body.inputs.index(inner)] if once else None


def joined(
    nodes: Sequence[Node], given: Mapping[Node, tuple[Value, ...]], supported: set[type[Op]]
) -> Sequence[Value] | None:
    """One operator for nodes with the operands that are ``given``."""
    values, parameters, operands = dict[Value, Value](), list[Value](), list[Value]()
    for node in nodes:
        inputs = []
        for old, new in zip(node.inputs, given[node], strict=True):
            if old in values:
                inputs.append(values[old])
            elif new.constant is not None and not has_rows(new):
                inputs.append(new)
            else:
                parameters.append(arg(f"x{len(parameters)}", new.type.dtype, new.type.shape))
                operands.append(new)
                inputs.append(parameters[-1])
        region = region_of(node.op.apply(*inputs, name=node.name, origins=node.origins), supported)
        if region.moves or region.end or any(map(has_rows, constants(region.body))):
            return None
        (values[node.results[0]],) = (
            Fused(body=region.body).apply(*region.operands, name=node.name, origins=node.origins).results
        )
    result = values[nodes[-1].results[0]]
    origins = tuple(dict.fromkeys(origin for node in nodes for origin in node.origins))
    attention = Attention(body=Graph(tuple(parameters), (result,), name="body"))
    return attention.apply(*operands, name=nodes[-1].name, origins=origins).results


def constants(body: Graph) -> Iterator[Value]:
    return (node.results[0] for node in body.nodes if isinstance(node.op, Constant))


def has_rows(value: Value) -> bool:
    """Whether an operand may have other elements for each row."""
    shape = value.type.static_shape
    return len(shape) > 1 and shape[-2] != 1
