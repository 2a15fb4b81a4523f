"""Operators without a rule, taken apart as torch itself takes them apart."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from graphopt.frontends.torch.node import ATEN_RULES

PASSED_THROUGH = frozenset(
    f"aten.{name}"
    for name in (
        "alias.default",
        "clone.default",
        "contiguous.default",
        "detach.default",
        "lift_fresh_copy.default",
        "alpha_dropout.default",
        "dropout.default",
        "feature_dropout.default",
    )
)
"""Operators that give back their first argument; of those with a ``train`` argument, that is seen to be false."""

IGNORED = frozenset(
    [
        "aten._assert_async.msg",
        "aten._assert_scalar.default",
        "aten._assert_tensor_metadata.default",
        "aten.sym_constrain_range.default",
        "aten.sym_constrain_range_for_size.default",
    ]
)
"""Operators without a result, which check what the type rules check as well."""


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The program with every operator that has no rule decomposed, again and again while torch knows how.

    What depends on no input is left: it is computed when the program is imported.
    """
    tried: set[Any] = set()
    while found := unknown(program) - tried:
        tried |= found
        program = program.run_decompositions({target: decompositions()[target] for target in found})
    return program


def unknown(program: ExportedProgram) -> set[Any]:
    """The operators that have no rule, but a decomposition."""
    specs = program.graph_signature.input_specs
    inputs = {s.arg.name for s in specs if s.kind is InputKind.USER_INPUT}
    dependent: set[fx.Node] = set()
    found: set[Any] = set()
    for node in program.graph.nodes:
        if node.name in inputs or any(n in dependent for n in node.all_input_nodes):
            dependent.add(node)
            if isinstance(node.target, torch._ops.OpOverload) and lacks_rule(node.target) and not gives_number(node):
                found.add(node.target)
    return {target for target in found if target in decompositions()}


def gives_number(node: fx.Node) -> bool:
    """Whether the result is a number, such as a size, which needs no rule."""
    return isinstance(node.meta.get("val"), (torch.SymInt, torch.SymFloat, torch.SymBool, int, float))


def lacks_rule(target: torch._ops.OpOverload[..., Any]) -> bool:
    return functional_name(target) not in ATEN_RULES and str(target) not in (IGNORED | PASSED_THROUGH)


@cache
def decompositions() -> dict[Any, Any]:
    """All that torch knows, by operator."""
    return dict(torch.export.default_decompositions().materialize())


def functional_name(target: torch._ops.OpOverload[..., Any]) -> str:
    """The name of an operator, without the underscore by which it works in place."""
    base, overload = str(target).rsplit(".", 1)
    return f"{base.removesuffix('_') if target._schema.is_mutable else base}.{overload}"
