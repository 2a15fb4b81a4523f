"""Sparse weights, compressed in flash: the same numbers on every target, fewer bytes, more workspace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import KINDS_OF_CODE, Weights, check_program
from mlperf import NETS, calibration, graphs

from graphopt import compile
from graphopt.ir import Graph, constant
from graphopt.ops import Conv, Decompress, Linear, Relu
from graphopt.passes import (
    CompressWeights,
    Context,
    FoldConstants,
    Fuse,
    Pipeline,
    PruneWeights,
    Quantize,
    optimize,
)


def sparse_net(zeros: int = 3) -> Graph:
    """Weights of which one in so many is not zero."""
    g = Weights()

    def thin(*shape: int) -> object:
        data = np.array(g.w(*shape).constant)
        data.reshape(-1)[np.arange(data.size) % zeros != 0] = 0
        return constant(data, f"w{shape[0]}")

    x = Relu()(Conv(pads=(1, 1, 1, 1))(g.x(1, 3, 5, 7), thin(6, 3, 3, 3), g.w(6), name="conv"))
    y = Conv(group=6)(x, thin(6, 1, 2, 2), g.w(6), name="depthwise")
    return g.graph(Linear()(y, thin(4, 6), g.w(4), name="linear"))


@pytest.mark.parametrize("target", KINDS_OF_CODE)
def test_is_the_same_program(target: str) -> None:
    graph = sparse_net()
    small = Pipeline([CompressWeights()], check=True)(graph)
    assert sum(isinstance(n.op, Decompress) for n in small.nodes) == 3
    check_program(small, target, graph)
    check_program(Fuse()(small), target, graph)


@pytest.mark.parametrize("there", [0, 1, 7, 8, 9, 63, 64])
def test_any_number_of_values(there: int) -> None:
    bits = np.zeros(64, bool)
    bits[np.random.default_rng(there).permutation(64)[:there]] = True
    values = np.arange(1, max(there, 1) + 1, dtype=np.int8)
    made = Decompress(shape=(4, 2, 8))(constant(np.packbits(bits, bitorder="little")), constant(values))
    graph = Graph((), (made,))
    want = np.zeros(64, np.int8)
    want[bits] = values[:there]
    np.testing.assert_array_equal(graph()[0], want.reshape(4, 2, 8))
    check_program(graph, "host")
    check_program(graph, "cortex-m4")


def test_stays_where_it_saves_nothing() -> None:
    context = Context()
    graph = CompressWeights().run(sparse_net(zeros=1), context)
    assert not any(isinstance(n.op, Decompress) for n in graph.nodes)
    assert all(n.declined and "as they are" in n.text for n in context.notes)


def test_is_not_folded_away() -> None:
    small = optimize(CompressWeights()(sparse_net()))
    assert sum(isinstance(n.op, Decompress) for n in small.nodes) == 3


def test_saves_flash_on_a_quantized_net(shared: Path) -> None:
    """Nine of ten weights masked, int8, compressed: bytes on Cortex-M4, and the same integers."""
    masked = Pipeline([PruneWeights(sparsity=0.9), FoldConstants()])(graphs(shared, "kws")[0])
    quantized = Quantize(calibration=calibration(shared, "kws")[:32])(masked)
    x = next(NETS["kws"].samples(shared))[:1]
    programs = [compile(Fuse()(g), "cortex-m4") for g in (quantized, CompressWeights()(quantized))]
    dense, small = (p.manifest["weight_bytes"] for p in programs)
    print(f"KWS, 90 % zeros: {dense:,} bytes of weights, compressed {small:,}")
    assert small < 0.6 * dense
    for program in programs:
        np.testing.assert_array_equal(program.dequantize(np.asarray(program.run(x))), quantized(x)[0])
