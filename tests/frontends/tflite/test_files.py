"""The int8 files of MLPerf Tiny: as accurate as LiteRT, the same bytes on every machine, and passes that take them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from oracle import session

import graphopt
from frontends.tflite.files import FILES, compared, graph_of, program_of
from graphopt import ops
from graphopt.passes import LowerInteger
from graphopt.passes.base import Context
from graphopt.passes.prune.dead import RemoveDeadChannels
from graphopt.report import cost_of

FEW = {"kws": 100, "ic": 25, "vww": 20, "ad": 392, "sww": 45}
LARGEST = {"kws": 24, "ic": 96, "vww": 12, "ad": 0, "sww": 1}
"""Steps by which an output may differ from LiteRT's, of 256: its convolutions round twice, and nets add up to that."""


@pytest.mark.parametrize("name", FILES)
def test_is_as_accurate_as_litert(name: str, shared: Path) -> None:
    found = compared(shared, name, FEW[name], 196 if name == "ad" else 1)
    assert found.largest <= LARGEST[name]
    if name != "ad":  # two clips have no area under a curve
        assert abs(found.ours - found.litert) <= found.allowed


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_is_as_accurate_as_litert_on_all_samples(name: str, shared: Path) -> None:
    found = compared(shared, name, None, 196 if name == "ad" else 1)
    assert found.largest <= LARGEST[name]
    assert abs(found.ours - found.litert) <= found.allowed


@pytest.mark.parametrize("name", FILES)
def test_the_graph_is_clean(name: str, shared: Path) -> None:
    """What changes the layout is at the ports, and all between them computes."""
    kinds = Counter(type(n.op) for n in graph_of(shared, name).nodes)
    assert kinds[ops.Transpose] <= 1
    assert kinds[ops.Reshape] <= 2


@pytest.mark.parametrize("name", FILES)
def test_all_of_it_is_in_integers(name: str, shared: Path) -> None:
    context = Context()
    LowerInteger().run(graph_of(shared, name), context)
    assert not [str(note) for note in context.notes if note.declined]


@pytest.mark.parametrize(
    "name", ["kws", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ic", "vww", "ad", "sww"))]
)
def test_a_microcontroller_gives_the_bytes_of_the_evaluator(name: str, shared: Path) -> None:
    program = program_of(shared, name, "cortex-m4")
    x = FILES[name].samples(shared)[0][:1]
    port, given = program.manifest["inputs"][0], program.manifest["outputs"][0]
    integers = np.clip(np.rint(x / np.float32(port["scale"])) + port["zero_point"], -128, 127).astype(np.int8)
    wanted = graphopt.optimize(graph_of(shared, name))(x)[0]
    steps = np.rint(wanted / np.float32(given["scale"])) + given["zero_point"]
    assert np.array_equal(program.measure([integers]).outputs[0][0], steps)


def test_dead_channels_go_without_a_difference(shared: Path) -> None:
    graph = graph_of(shared, "vww")
    small = RemoveDeadChannels().run(graph, Context())
    assert cost_of(small).macs < 0.51 * cost_of(graph).macs
    x = FILES["vww"].samples(shared)[0][:4]
    assert np.array_equal(small(x)[0], graph(x)[0])
    assert np.array_equal(graphopt.optimize(small)(x)[0], graphopt.optimize(graph)(x)[0])


@pytest.mark.parametrize("name", ["kws", "ad"])
def test_onnx_models_give_the_same_integers(name: str, shared: Path) -> None:
    graph = graphopt.optimize(graph_of(shared, name))
    x = FILES[name].samples(shared)[0][:4]
    (wanted,) = graph(x)
    model = graphopt.to_onnx(graph)
    assert "ConvInteger" in {n.op_type for n in model.graph.node} or name == "ad"
    found = session(model.SerializeToString()).run(None, {model.graph.input[0].name: x})[0]
    assert np.array_equal(found, wanted)
