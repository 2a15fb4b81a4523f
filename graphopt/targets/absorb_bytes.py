"""Functions of single bytes in front of convolutions, as cameras need them, become part of these.

What flips the highest bits of bytes makes int8 of them, less by 128. So of the bytes as they are the zero point of the
convolution is 128 more, and it gives the same. A table is read where the kernel copies its operand into scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphopt.errors import Unsupported
from graphopt.ir import Graph, Node, Op, Value, arg, constant, rebuild
from graphopt.ops import ChannelLookup, ConvInteger, FlipSign, Fused, Lookup
from graphopt.targets.absorb import as_fused
from graphopt.targets.forms import formed
from graphopt.targets.gathering import kernel_of
from graphopt.targets.instructions.pixels import FLIPPED_BY
from graphopt.targets.kernels import Task
from graphopt.targets.layout import Layout
from graphopt.targets.port import BYTES
from graphopt.targets.ports import PortOptions
from graphopt.targets.prepared import dense_layouts, lowered_operators
from graphopt.targets.region import region_of
from graphopt.targets.target import Target


def absorb_bytes(graph: Graph, target: Target, options: PortOptions) -> Graph:
    """The graph whose convolutions read bytes as they are, where their kernels are no others for that.

    Their routines are more code than one that flips bits, so it is not done where the fewest bytes are wanted.
    """
    if target.optimize == "size":
        return graph
    layouts, changed = dense_layouts(graph, options), dict[Node, Node]()
    for front in graph.nodes:
        if isinstance(front.op, FlipSign | Lookup | ChannelLookup) and is_of_bytes(front):
            (value,) = front.results
            readers = graph.uses[value]
            made = {node: new for node in readers if (new := with_front(node, value))}
            alone = len(made) == len(readers) == graph.use_count(value)
            once = isinstance(front.op, FlipSign) or len(readers) == 1
            if alone and once and all(same_kernel(*pair, layouts, target) for pair in made.items()):
                changed |= made

    def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in changed:
            return None
        read = zip(node.inputs, changed[node].inputs, inputs, strict=True)
        operands = [made if old is new else made.node.inputs[0] for old, new, made in read]
        return changed[node].with_inputs(operands).results

    return rebuild(graph, replaced) if changed else graph


def is_of_bytes(front: Node) -> bool:
    """Whether a function makes int8 of bytes without a sign, by no other run-time operand."""
    x, *tables = front.inputs
    dtypes = x.type.dtype, front.types[0].dtype
    return x.constant is None and dtypes == (BYTES, "int8") and all(v.constant is not None for v in tables)


def with_front(node: Node, value: Value) -> Node | None:
    """A convolution with the function in its body that gives its operand; None of another node."""
    fused, front = as_fused(node), value.node
    body, place = fused.body, node.inputs.index(value)
    inner = body.inputs[place]
    if node.inputs.count(value) > 1 or body.use_count(inner) != 1:
        return None
    (reader,) = body.uses[inner]
    if not isinstance(reader.op, ConvInteger) or reader.inputs[0] is not inner:
        return None
    unsigned = isinstance(front.op, FlipSign)
    op = replace(reader.op, zero_point=reader.op.zero_point - FLIPPED_BY) if unsigned else reader.op

    def change(old: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if old is inner.node:
            return (arg(old.name, BYTES, inner.type.shape),)
        if old is not reader:
            return None
        x, *others = inputs
        tables = [constant(v.constant, like=v) for v in front.inputs[1:] if v.constant is not None]
        read = x if unsigned else front.op.apply(x, *tables, name=front.name, origins=front.origins).results[0]
        return op.apply(read, *others, name=old.name, origins=old.origins).results

    operands = [front.inputs[0] if v is value else v for v in node.inputs]
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
