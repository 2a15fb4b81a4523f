"""The fuzzer finds a planted bug, reduces and writes it; it does not judge what rounding decides."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import graphopt
from graphopt.ir import Array, Constant, Graph, Input, arg, bind_batch, constant
from graphopt.ops import Abs, ArgMin, Cast, Dequantize, Floor, LeakyRelu, Log, Mul, Quantize, ReduceSum, Relu, Sin
from graphopt.passes.contract import random_inputs
from graphopt.testing import fuzz, fuzz_floats, random_graph


def wrong(graph: Graph, inputs: Mapping[str, Array]) -> Sequence[Array]:
    """The evaluator, but for graphs with a leaky_relu."""
    factor = 2 if any(isinstance(n.op, LeakyRelu) for n in graph.nodes) else 1
    return [a * np.asarray(factor, a.dtype) for a in fuzz_floats.by_evaluator(graph, inputs)]


def crash(graph: Graph, inputs: Mapping[str, Array]) -> Sequence[Array]:
    raise ZeroDivisionError("planted")


def test_a_planted_bug_is_found_reduced_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz_floats, "WAYS", {"wrong": wrong})
    arguments = f"fuzz --minutes 0.05 --seed 14 --kinds files float --output {tmp_path / 'found'}"
    monkeypatch.setattr(sys, "argv", arguments.split())
    with pytest.raises(SystemExit) as ended:
        fuzz.main()
    assert ended.value.code == 1
    assert "1 findings" in capsys.readouterr().err
    (stored,) = (tmp_path / "found").glob("*.gopt")
    small = graphopt.load(stored)
    assert [n.op.name for n in small.nodes if not isinstance(n.op, Input | Constant)] == ["leaky_relu"]
    assert stored.with_suffix(".txt").read_text().startswith("# wrong, seed ")


def test_a_crash_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_floats, "WAYS", {"crash": crash})
    x = arg("x", "float32", (2, 3))
    found = fuzz_floats.examine(Graph((x,), (Relu()(x),)), "crash", 0)
    assert found is not None and (found.kind, found.detail) == ("ZeroDivisionError", "planted")


def test_what_rounding_decides_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_floats, "WAYS", {"crash": crash})
    x = arg("x", "float32", (64, 64))
    big = Mul()(x, constant(np.float32(1e6)))
    assert fuzz_floats.examine(Graph((x,), (Floor()(big),)), "crash", 0) is not None
    bits = Cast(to="int8")(Cast(to="int32")(big))
    assert fuzz_floats.examine(Graph((x,), (bits,)), "crash", 0) is None


@pytest.mark.parametrize("seed", [2095, 3271])
def test_pads_of_drawn_integers_are_integers(seed: int) -> None:
    """What was drawn of these seeds padded an int32 with an infinity, and ended the fuzzer."""
    graph = random_graph(seed)
    graph(**random_inputs(bind_batch(graph, 2), seed))


def test_programs_of_quantized_graphs_take_and_give_floats() -> None:
    x, scale, zero = arg("x", "float32", (2, 3)), constant(np.float32(0.5)), constant(np.uint16(5))
    graph = Graph((x,), (Dequantize()(Quantize()(x, scale, zero), scale, zero),))
    assert fuzz_floats.examine(graph, "host", 0) is None


def test_what_the_order_of_a_sum_decides_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sine of a sum of some hundred: the absolute error of the sum is that of the sine, of magnitude one."""
    monkeypatch.setattr(fuzz_floats, "WAYS", {"crash": crash})
    x = arg("x", "float32", (8, 150))
    total = ReduceSum(axes=(1,))(Abs()(x))
    assert fuzz_floats.examine(Graph((x,), (total,)), "crash", 0) is not None
    assert fuzz_floats.examine(Graph((x,), (Sin()(total),)), "crash", 0) is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "way", ["onnxruntime", "reimport", "torch", "optimized", "optimized-onnxruntime", "optimized-host"]
)
def test_the_ways_agree(way: str, seed: int) -> None:
    assert fuzz_floats.examine(random_graph(seed), way, seed) is None


def test_emulated_ways_take_turns() -> None:
    seen = {w for count in range(0, 50, 5) for w in fuzz_floats.ways_for(count, 5)}
    assert seen >= {w for w in fuzz_floats.WAYS if not w.endswith(fuzz_floats.EMULATED) or fuzz_floats.available(w)}
    assert not any(w.endswith(fuzz_floats.EMULATED) for w in fuzz_floats.ways_for(1, 5))


def test_a_nan_that_the_outputs_hide_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_floats, "WAYS", {"crash": crash})
    x = arg("x", "float32", (64, 64))
    assert fuzz_floats.examine(Graph((x,), (ArgMin(axis=1)(x),)), "crash", 0) is not None
    assert fuzz_floats.examine(Graph((x,), (ArgMin(axis=1)(Log()(x)),)), "crash", 0) is None
