"""A cell of a notebook that is run again: what it defines takes the place of what it defined before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphopt
from graphopt.errors import InvalidGraph
from graphopt.exporters.torch.rule import TORCH_RULES
from graphopt.frontends.onnx.node import ONNX_RULES
from graphopt.frontends.torch.node import ATEN_RULES
from graphopt.ir import REGISTRY, Graph, arg
from graphopt.ir.registry import TABLES
from graphopt.passes import PASSES
from graphopt.passes.prune.maps.table import MAPS
from graphopt.passes.quantize.form import INTEGER_RULES
from graphopt.targets.kernels import KERNEL_RULES
from graphopt.targets.scalars import SCALARS

CELLS = {
    "operator": """
from graphopt.ops.elementwise import Unary

class Shift(Unary, name="test-shift"):
    def evaluate(self, *inputs):
        return inputs[0] + np.asarray(BY, inputs[0].dtype)
""",
    "scalar rule": """
from graphopt.targets.scalars import constant, scalar_rule

@scalar_rule(Shift)
def shift(op, x):
    return x + constant(BY, x)
""",
    "kernel rule": """
from graphopt.targets.kernels import kernel_rule

@kernel_rule(Shift, isa="test-isa")
def shift_kernel(task):
    return BY
""",
    "onnx": """
from graphopt.frontends.onnx.node import onnx_rule

@onnx_rule("TestShift")
def read_shift(at):
    return BY
""",
    "torch": """
from graphopt.frontends.torch.node import aten_rule

@aten_rule("test_shift")
def aten_shift(node, x):
    return BY
""",
    "to torch": """
from graphopt.exporters.torch.rule import torch_rule

@torch_rule(Shift)
def torch_shift(op, x):
    return x + BY
""",
    "integer form": """
from graphopt.passes.quantize.form import integer_rule

@integer_rule(Shift)
def integer_shift(*_):
    return BY
""",
    "index map": """
from graphopt.passes.prune.maps.table import channel_map

@channel_map(Shift)
def map_shift(node, relations):
    return BY
""",
    "pass": """
from graphopt.passes import Exact, Pass

class ShiftPass(Pass, name="test-shift-pass", contract=Exact()):
    by = BY
""",
}


@pytest.fixture
def notebook() -> Iterator[dict[str, Any]]:
    """A module in which cells are run; the tables are put back."""
    tables: list[Any] = [REGISTRY, PASSES, TORCH_RULES, ONNX_RULES, ATEN_RULES, MAPS]
    tables += [INTEGER_RULES, KERNEL_RULES, SCALARS]
    kept = [dict(t) for t in tables]
    yield {"__name__": "__main__", "np": np}
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)


def run(notebook: dict[str, Any], cell: str, by: int, name: str = "__main__") -> None:
    notebook.update(BY=by, __name__=name)
    exec(CELLS[cell].replace("BY", str(by)), notebook)


def test_cells_run_again_replace_and_others_are_refused(notebook: dict[str, Any]) -> None:
    for by in (1, 2):
        for cell in CELLS:
            run(notebook, cell, by)
    shift = notebook["Shift"]
    assert REGISTRY["test-shift"] is shift and KERNEL_RULES[shift, "test-isa"].__wrapped__ is notebook["shift_kernel"]
    assert ONNX_RULES["TestShift"] is notebook["read_shift"] and PASSES["test-shift-pass"].by == 2  # type: ignore[attr-defined]
    for cell in CELLS:
        if cell != "operator":
            with pytest.raises(InvalidGraph, match=r"__main__\.\w+"):
                run(notebook, cell, 3, name="elsewhere")
    with pytest.raises(InvalidGraph, match="defined already, by __main__"):
        run(notebook, "operator", 3, name="elsewhere")
    assert len({id(t) for t in TABLES}) == len(TABLES)


def test_an_operator_defined_again_keeps_its_rules_until_they_are(notebook: dict[str, Any]) -> None:
    for cell in ("operator", "scalar rule"):
        run(notebook, cell, 1)
    for by, cell in ((5, "operator"), (5, "scalar rule")):
        run(notebook, cell, by)
        x = arg("x", "float32", (3,))
        graph = Graph((x,), (notebook["Shift"]()(x),))
        assert graph(np.zeros(3, "float32"))[0][0] == 5
        program = graphopt.compile(graph, "host")
        assert program.run(np.zeros(3, "float32"))[0] == (1 if cell == "operator" else 5)
