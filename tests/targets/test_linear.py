"""Linear layers of many rows: any shape, leading axes, and what is fused behind them, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE, Weights, check_program, in_long_runs

import graphopt
from graphopt.ir import Graph, Value, constant
from graphopt.ops import Add, Gelu, Linear, Tanh, Transpose
from graphopt.passes import Fuse

TARGETS = [NATIVE[-1], *in_long_runs(*NATIVE[:-1], "aarch64", "armv7")]
SHAPES = [
    ((17, 5), 9),
    ((23, 1), 18),
    ((31, 33), 37),
    ((61, 16), 1),
    ((3, 7, 19), 32),
    ((2, 2, 19, 8), 33),
    ((211, 97), 48),
]
"""Of the operand, and columns: blocks that are not full, single elements, leading axes, several strips."""


def layer(g: Weights, x: Value, columns: int) -> Value:
    weight = constant(g.rng.standard_normal((columns, x.type.static_shape[-1])).astype(np.float32))
    return Linear()(x, weight, constant(g.rng.standard_normal(columns).astype(np.float32)))


def layers() -> Graph:
    """A layer of each shape: alone, or with a residual behind it, or a function."""
    g, ends = Weights(), list[Value]()
    for i, (shape, columns) in enumerate(SHAPES):
        y = layer(g, g.x(*shape), columns)
        if i % 2:
            y = Add()(Tanh()(y) if i == 5 else y, g.x(*y.type.static_shape))
        ends.append(y)
    return Fuse()(g.graph(*ends))


@pytest.mark.parametrize("target", TARGETS)
def test_layers_of_any_shape(target: str) -> None:
    program = check_program(layers(), target)
    rows = [row for row in program.manifest["kernels"] if row["kernel"].startswith("linear")]
    assert len(rows) == len(SHAPES)
    assert "linear_by_tiles" in rows[-1]["rule"]


@pytest.mark.parametrize("target", TARGETS[:-1])
def test_functions_behind_a_layer_have_the_bits_of_the_evaluator(target: str) -> None:
    """Several vectors at once, of a layer whose sums are its operands themselves."""
    g = Weights()
    x, width = g.x(29, 43), 43
    same = Linear()(x, constant(np.eye(width, dtype=np.float32)), constant(np.zeros(width, np.float32)))
    graph = Fuse()(g.graph(Gelu()(same)))
    data = g.rng.uniform(-9, 9, (29, width)).astype(np.float32)
    program = graphopt.compile(graph, target)
    (got,) = program.measure([data], count=False).outputs[0]
    assert len(program.manifest["kernels"]) == 1
    assert np.array_equal(got, graph(x0=data)[0])


def test_few_rows_and_moved_rows_go_another_way() -> None:
    g = Weights()
    few = layer(g, g.x(2, 8), 5)
    moved = layer(g, Transpose(perm=(1, 0, 2))(g.x(7, 9, 8)), 5)
    program = check_program(Fuse()(g.graph(few, moved)), NATIVE[-1])
    first = next(row for row in program.manifest["kernels"] if row["kernel"].startswith("linear"))
    assert any("2 rows are one tile" in why for why in first["others"])
