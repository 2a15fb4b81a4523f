"""Moves around a matrix product of two run-time operands become part of its kernel, which reads and writes by strides.

So attention needs no copies to bring its heads side by side and back; what is only scaled on its way to a product is
read by strides too. In C, where kernels are plain nests and results may lie over operands, moves stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.ir import Constant, Graph, Input, Node, Value, arg, rebuild
from graphopt.ops import Fused, Reshape, Transpose
from graphopt.targets.attention import BY_STRIDES
from graphopt.targets.layout import row_major
from graphopt.targets.scalars import is_scalar
from graphopt.targets.tir import Tensor
from graphopt.targets.views import MOVES, view


def absorb_moves(graph: Graph) -> Graph:
    """The graph with the moves that products read through, and transposes of their results, in the bodies of these."""

    def absorb(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if isinstance(node.op, Transpose):
            return placed(inputs[0].node, node) if graph.use_count(node.inputs[0]) == 1 else None
        product = is_product(node)
        feeds = graph.uses[node.results[0]] if is_scalar(type(node.op)) else ()
        return fed(node, inputs) if product or (feeds and all(map(is_product, feeds))) else None

    return rebuild(graph, absorb)


def is_product(node: Node) -> bool:
    body = node.op.body.nodes if isinstance(node.op, Fused) else (node,)
    return any(isinstance(n.op, BY_STRIDES) for n in body)


def as_fused(node: Node) -> Fused:
    """An operator as a fused one, with an input of the body for each operand."""
    if isinstance(node.op, Fused):
        return node.op
    parameters = tuple(arg(f"x{i}", v.type.dtype, v.type.shape) for i, v in enumerate(node.inputs))
    result = node.op(*parameters, name=node.name, origins=node.origins)
    return Fused(body=Graph(parameters, (result,), name="body"))


def fed(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """A node with the moves before its operands; None if there are none to take."""
    op, sources, parameters, moved = as_fused(node), list[Value](), list[Value](), list[Value]()
    for i, (inner, value) in enumerate(zip(op.body.inputs, inputs, strict=True)):
        moves = moves_to(value) if reads_once(op.body, inner) else []
        source = moves[0].inputs[0] if moves else value
        made = arg(f"x{i}", source.type.dtype, source.type.shape)
        sources.append(source)
        parameters.append(made)
        for move in moves:
            made = move.op(made, name=move.name, origins=move.origins)
        moved.append(made)
    if sources == list(inputs):
        return None
    fused = Fused(body=Graph(tuple(parameters), op.decompose(*moved), name="body"))
    return (fused(*sources, name=node.name, origins=node.origins),)


def reads_once(body: Graph, operand: Value) -> bool:
    """Whether the first operator of a body is all that reads an operand, and reads it once."""
    first = next(n for n in body.nodes if not isinstance(n.op, Input | Constant))
    return body.use_count(operand) == 1 and operand in first.inputs


def moves_to(value: Value) -> list[Node]:
    """The longest run of moves up to a value that are a view of what they begin with; none if they cost nothing."""
    chain: list[Node] = []
    while isinstance(value.op, MOVES) and value.node.inputs[0].constant is None:
        chain.insert(0, value.node)
        value = value.node.inputs[0]
    moves = next((chain[start:] for start in range(len(chain)) if is_view(chain[start:])), [])
    return [] if all(isinstance(move.op, Reshape) for move in moves) else moves


def is_view(moves: Sequence[Node]) -> bool:
    """Whether moves are a view of a row-major tensor."""
    stored = row_major(moves[0].inputs[0].type.static_shape)
    tensor: Tensor | None = Tensor(None, moves[0].types[0].dtype, stored.shape, stored.strides)
    for move in moves:
        tensor = tensor and view(move.op, tensor)
    return tensor is not None


def placed(node: Node, transpose: Node) -> Sequence[Value] | None:
    """A product whose result is stored transposed; None if neither its rows nor its columns were then side by side."""
    assert isinstance(transpose.op, Transpose)
    if not is_product(node) or transpose.op.perm[-1] < len(transpose.op.perm) - 2:
        return None
    body = as_fused(node).body
    if isinstance(body.outputs[0].op, Transpose):
        return None
    result = transpose.op(body.outputs[0], name=transpose.name, origins=transpose.origins)
    fused = Fused(body=Graph(body.inputs, (result,), name="body"))
    origins = tuple(dict.fromkeys((*node.origins, *transpose.origins)))
    return (fused(*node.inputs, name=transpose.name, origins=origins),)
