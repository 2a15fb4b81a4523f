"""Bytes that a convolution reads as they are, where the graph flips their highest bits for it.

int8 is the byte less 128. So of bytes the zero point of the convolution is 128 more, and it gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphopt.errors import Unsupported
from graphopt.ir import Graph, Node, Op, Value, arg, rebuild
from graphopt.ops import ConvInteger, FlipSign, Fused
from graphopt.targets.absorb import as_fused
from graphopt.targets.forms import formed
from graphopt.targets.gathering import kernel_of
from graphopt.targets.instructions.pixels import FLIPPED_BY
from graphopt.targets.kernels import Task
from graphopt.targets.layout import Layout
from graphopt.targets.ports import PortOptions
from graphopt.targets.prepared import dense_layouts, lowered_operators
from graphopt.targets.region import region_of
from graphopt.targets.target import Target


def read_unsigned(graph: Graph, target: Target, options: PortOptions) -> Graph:
    """The graph whose convolutions read bytes as they are, where their kernels are no others for that.

    Their routines are more code than one that flips bits, so it is not done where the fewest bytes are wanted.
    """
    if target.optimize == "size":
        return graph
    layouts, changed = dense_layouts(graph, options), dict[Node, Node]()
    for flip in graph.nodes:
        if isinstance(flip.op, FlipSign) and flip.inputs[0].type.dtype == "uint8":
            (flipped,) = flip.results
            readers = graph.uses[flipped]
            made = {node: new for node in readers if (new := of_bytes(node, flipped))}
            alone = len(made) == len(readers) == graph.use_count(flipped)
            if alone and all(same_kernel(*pair, layouts, target) for pair in made.items()):
                changed |= made

    def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in changed:
            return None
        read = zip(node.inputs, changed[node].inputs, inputs, strict=True)
        operands = [made if old is new else made.node.inputs[0] for old, new, made in read]
        return changed[node].with_inputs(operands).results

    return rebuild(graph, replaced) if changed else graph


def of_bytes(node: Node, flipped: Value) -> Node | None:
    """A convolution that reads bytes in the place of flipped ones; None of another node."""
    fused, (bytes_,) = as_fused(node), flipped.node.inputs
    body, place = fused.body, node.inputs.index(flipped)
    inner = body.inputs[place]
    if node.inputs.count(flipped) > 1 or body.use_count(inner) != 1:
        return None
    (reader,) = body.uses[inner]
    if not isinstance(reader.op, ConvInteger) or reader.inputs[0] is not inner:
        return None
    op = replace(reader.op, zero_point=reader.op.zero_point - FLIPPED_BY)

    def change(old: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if old is inner.node:
            return (arg(old.name, bytes_.type.dtype, inner.type.shape),)
        return op.apply(*inputs, name=old.name, origins=old.origins).results if old is reader else None

    operands = [bytes_ if v is flipped else v for v in node.inputs]
    return Fused(body=rebuild(body, change)).apply(*operands, name=node.name, origins=node.origins)


def same_kernel(node: Node, new: Node, layouts: Mapping[Value, Layout], target: Target) -> bool:
    """Whether a node would have the kernel that the old one has."""
    out = layouts[node.results[0]]
    return known(node, out, layouts, target) == known(new, out, layouts, target)


def known(node: Node, out: Layout, layouts: Mapping[Value, Layout], target: Target) -> tuple[str, str]:
    """The rule of a node's kernel, and the name of that; empty where there is none."""
    region, _ = formed(region_of(node, lowered_operators()), target)
    task: Task[Op] = Task(region, target, tuple(layouts[v] for v in region.operands), out)
    try:
        choice = kernel_of(task)
    except Unsupported:
        return "", ""
    return choice.rule, "" if choice.result is None else choice.result.name
