"""Integer recurrent sequences on x86-64: the evaluator's integers, by the instructions that are meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import check_program, in_long_runs
from test_integer_recurrent import KINDS, drawn, mixed
from test_x86_int8 import HOSTS, called, disassembly
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

import graphopt
from graphopt.ir import Graph, arg, constant
from graphopt.ops import Requantize, WeightedSum
from graphopt.passes import Fuse
from graphopt.targets import builtin_targets
from graphopt.targets.instructions.x86_gather import GATHER, gather_pairs

pytestmark = pytest.mark.skipif(not HOSTS, reason="it is about x86-64")
WITH_GATHER = [name for name in HOSTS if name != "x86-64-v2"]


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("target", WITH_GATHER[:1])
def test_a_gather_is_of_two_elements_from_each_place_on(target: str, lanes: int) -> None:
    rng = np.random.default_rng(0)
    elements, places = mixed(rng, "int16", 513), rng.integers(0, 512, 64).astype(np.int32)
    places[:3] = 0, 511, 1

    def kernel() -> tirx.PrimFunc:
        with IRBuilder() as made, builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            x = builder.arg("x", builder.buffer((513,), "int16"))
            at, y = (builder.arg(name, builder.buffer((64,), "int32")) for name in ("at", "y"))
            with builder.serial(0, 64 // lanes) as i:
                side_by_side = tirx.Ramp(i * lanes, 1, lanes)
                found = gather_pairs(tirx.address_of(x[0]), at[side_by_side], lanes)
                builder.buffer_store(y, found, [side_by_side])
        return made.get()

    got = called(kernel(), builtin_targets()[target], elements, places, np.zeros(64, np.int32))
    np.testing.assert_array_equal(got, GATHER.meaning(elements, places))


@pytest.mark.parametrize("target", [*HOSTS[1:2], *in_long_runs(*HOSTS[:1], *HOSTS[2:])])
def test_every_kind_of_cell_and_of_width(target: str, tmp_path: Path) -> None:
    """Whole vectors and narrower ones down to single channels, in blocks of several and of one; odd depths."""
    graphs = [
        drawn(kind, (3, 1 + i % 2, hidden), seed=i)
        for i, (kind, hidden) in enumerate(zip(KINDS, (39, 1, 13, 24, 71), strict=True))
    ]
    graph = Graph(tuple(v for g in graphs for v in g.inputs), tuple(v for g in graphs for v in g.outputs))
    rng = np.random.default_rng(2)
    inputs = [mixed(rng, v.type.dtype, *v.type.static_shape) for v in graph.inputs]
    program = graphopt.compile(graph, target)
    for got, want in zip(program.run(*inputs), graph(*inputs), strict=True):
        np.testing.assert_array_equal(got, want)
    assert all("x86_recurrent" in row["rule"] for row in program.manifest["kernels"])
    text = disassembly(program, tmp_path)
    assert "pmaddwd " in text and ("vpgatherdd " in text) == (target in WITH_GATHER)


@pytest.mark.parametrize("factors", [(1,), (40_000, -20_000), (1 << 20, 1 << 20)])
def test_sums_of_16_bits_are_requantized_in_32_where_they_fit(factors: tuple[int, ...]) -> None:
    """The last may need 37 bits."""
    operands = [arg(f"x{i}", "int16", (3, 21)) for i in range(len(factors))]
    total = WeightedSum(factors=factors, offset=1 << 10)(*operands)
    scale = constant(np.int32(1 << 30)), constant(np.int32(36 + 8 * (factors != (1,))))
    program = check_program(Fuse()(Graph(tuple(operands), (Requantize(zero_point=3)(total, *scale),))), HOSTS[-1])
    (row,) = program.manifest["kernels"]
    assert ("its accumulator is int64" in " ".join(row["others"])) == (factors[0] == 1 << 20)
