"""In-place operators in an exported program: whom do they change?

The tracer rebinds a tensor to the result of an operator that changed it in place, so a chain of those reads
as if nothing were in place. That is the truth unless a *view* of the tensor, taken before, is read after, or the
tensor may be a parameter: then torch rewrites the program without in-place operators, which is exact, but
decomposes more than is needed elsewhere.
"""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

MAY_RETURN_INPUT = frozenset(["aten.contiguous", "aten.dropout", "aten.alpha_dropout", "aten.feature_dropout"])
"""Operators whose schema does not say that the result may be the operand itself."""


def without_views(program: ExportedProgram) -> ExportedProgram:
    """The program, rewritten without in-place operators if it cannot be read as it stands."""
    nodes = list(program.graph.nodes)
    owned = {s.arg.name for s in program.graph_signature.input_specs if s.kind is not InputKind.USER_INPUT}
    return program.run_decompositions({}) if changes_are_seen(nodes, owned) else program


def changed_state(program: ExportedProgram) -> list[str]:
    """The parameters and buffers that a program changes."""
    kept = (OutputKind.USER_OUTPUT, OutputKind.USER_INPUT_MUTATION)
    return [str(s.target) for s in program.graph_signature.output_specs if s.kind not in kept]


def changes_are_seen(nodes: list[fx.Node], owned: set[str]) -> bool:
    """Whether a change in place may be read through a node made before it, or may hit one of the owned inputs."""
    place = {node: i for i, node in enumerate(nodes)}
    roots: dict[fx.Node, fx.Node] = {}
    groups: dict[fx.Node, list[fx.Node]] = {}
    for node in nodes:
        sources = [s for s in node.all_input_nodes if may_share_memory(node, s)]
        roots[node] = roots[sources[0]] if sources else node
        groups.setdefault(roots[node], []).append(node)
    changes = [node for node in nodes if is_in_place(node)]
    if any(roots[change].name in owned for change in changes):
        return True
    return any(
        place[other] < place[change] < place[user]
        for change in changes
        for other in groups[roots[change]]
        for user in other.users
    )


def is_in_place(node: fx.Node) -> bool:
    """Whether a node changes elements; ``detach_``, which torch counts as well, only cuts gradients."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable and "detach_" not in str(target)


def may_share_memory(node: fx.Node, source: fx.Node) -> bool:
    """Whether the result may be a view of the source, or the source itself."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.op == "call_function"  # an element of several results
    if str(node.target).rsplit(".", 1)[0] in MAY_RETURN_INPUT:
        return True
    given = zip(node.target._schema.arguments, node.args, strict=False)
    return any(parameter.alias_info is not None and value is source for parameter, value in given)
