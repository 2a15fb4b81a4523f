"""Every operator has a rule in every table of them, or a decomposition in place of one, or the table says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
import torch

from graphopt.exporters.onnx import rules as onnx_writers
from graphopt.exporters.onnx.rule import ONNX_WRITERS
from graphopt.exporters.torch import rules as torch_rules
from graphopt.exporters.torch.rule import TORCH_RULES
from graphopt.frontends.onnx import importer as onnx_importer
from graphopt.frontends.onnx.node import KNOWN_RULES, ONNX_RULES
from graphopt.frontends.torch import decompose
from graphopt.frontends.torch import rules as aten_readers
from graphopt.frontends.torch.node import ATEN_RULES
from graphopt.ir import REGISTRY, Op
from graphopt.ir.registry import Table
from graphopt.passes.prune.maps import MAPS
from graphopt.passes.quantize import rules as integer_rules
from graphopt.passes.quantize.form import INTEGER_RULES
from graphopt.targets.kernels import KERNEL_RULES
from graphopt.targets.scalars import is_scalar

FILLED = (onnx_writers, torch_rules, onnx_importer, aten_readers, integer_rules)  # their import enters the rules

BUILT_IN = [op for _, op in sorted(REGISTRY.items()) if op.__module__.startswith("graphopt.ops.")]
STANDARD = ("", "ai.onnx")


def found(table: Table[type[Op], Any]) -> Callable[[type[Op]], list[bool]]:
    """Whether a table that is asked for families has a rule for a class, or a reason."""
    return lambda op: [table.find(op) is not None, table.reason(op) is not None]


def written(table: Table[type[Op], Any]) -> Callable[[type[Op]], list[bool]]:
    """The same, of a table for which operators without a rule are decomposed."""
    return lambda op: [op in table or op.decompose is not Op.decompose, op in table.reasons]


def lowered(op: type[Op]) -> list[bool]:
    """The same, of scalars and kernels."""
    kernels = {kind for kind, _ in KERNEL_RULES}
    return [
        is_scalar(op) or op in kernels or op.decompose is not Op.decompose,
        (op, None) in KERNEL_RULES.reasons,
    ]


ROOMS = {
    "programs": lowered,
    "ONNX exporter": written(ONNX_WRITERS),
    "PyTorch exporter": written(TORCH_RULES),
    "index maps": found(MAPS),
    "integer forms": found(INTEGER_RULES),
}


@pytest.mark.parametrize("op", BUILT_IN, ids=lambda op: op.name)
def test_every_operator_has_a_rule_or_a_reason(op: type[Op]) -> None:
    wanting = [room for room, of in ROOMS.items() if of(op).count(True) != 1]
    assert not wanting, f"{op.name} has neither a rule nor unsupported(...), or both, in {wanting}"


def test_every_operator_of_onnx_has_a_rule_a_body_or_a_reason() -> None:
    known = {*ONNX_RULES, *KNOWN_RULES, *ONNX_RULES.reasons}
    wanting = []
    for schema in onnx.defs.get_all_schemas():  # the newest version of each
        name = schema.name if schema.domain in STANDARD else f"{schema.domain}:{schema.name}"
        has_body = schema.has_function or schema.has_context_dependent_function
        if not (name in known or has_body or schema.deprecated):
            wanting.append(name)
    assert not wanting
    assert not ONNX_RULES.keys() & ONNX_RULES.reasons.keys()


def test_every_core_operator_of_aten_has_a_rule_a_decomposition_or_a_reason() -> None:
    """Those of sizes aside, of which the importer takes the numbers. ``dir`` would list what was used so far only."""
    names = {n.removeprefix("aten::").partition(".")[0] for n in torch._C._dispatch_get_all_op_names() if "aten::" in n}
    packets = [getattr(torch.ops.aten, name) for name in sorted(names)]
    overloads = [getattr(p, name) for p in packets for name in p.overloads()]
    core = {op for op in overloads if torch.Tag.core in op.tags and not str(op).startswith("aten.sym_")}
    lacking = {op for op in core if decompose.lacks_rule(op)} - decompose.decompositions().keys()
    assert len(core) > 150
    assert {str(op) for op in lacking} == ATEN_RULES.reasons.keys()
