"""Integer graphs are drawn in all forms, and equal on every target; a planted bug is found, reduced and written."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import graphopt
from graphopt.errors import Unsupported
from graphopt.ir import Array, Constant, Graph, Input, arg
from graphopt.ops import Requantize, Sigmoid
from graphopt.runtime import Program
from graphopt.targets import Port
from graphopt.targets.target import OPTIMIZE
from graphopt.testing import fuzz, fuzz_integers
from graphopt.testing.fuzz_integers import Setting, ports_for, setting_of
from graphopt.testing.integers import expect_exact, integer_graph

PLAIN = Setting("balanced", "native", io_in_arena=False, channels_last=False, pixels=False, ram=None)


def test_all_sorts_of_integers_are_drawn() -> None:
    graphs = []
    for seed in range(70):
        with suppress(Unsupported):  # part of it stays float
            graphs.append(integer_graph(seed))
    seen = Counter(node.op.name for graph in graphs for node in graph.nodes)
    assert len(graphs) > 45
    assert seen["conv_integer"] > 60
    assert seen.keys() >= {
        *("linear_integer", "conv_transpose_integer", "weighted_sum", "lookup", "max_pool", "sum_pool", "concat"),
        *("gru_sequence_integer", "lstm_sequence_integer", "resize", "conv_xnor"),
    }
    scales = [op for graph in graphs for node in graph.nodes if isinstance(op := node.op, Requantize)]
    assert {"int8", "int16"} <= {op.to for op in scales}
    assert {-128, 127} <= {op.zero_point for op in scales}


def test_settings_are_of_all_sorts() -> None:
    settings = [setting_of(seed) for seed in range(60)]
    assert {s.optimize for s in settings} == set(OPTIMIZE)
    assert {s.io for s in settings} == {"native", "float32"}
    for name in ("io_in_arena", "channels_last", "pixels"):
        assert {getattr(s, name) for s in settings} == {False, True}
    assert {s.ram for s in settings} == {None, 0.4, 0.6, 0.8}


def test_what_computes_floats_is_refused() -> None:
    x = arg("x", "float32", (1, 2))
    with pytest.raises(Unsupported, match="stays float"):
        expect_exact(Graph((x,), (Sigmoid()(x),)))


def wrong(
    program: Program, graph: Graph, ports: Mapping[str, Port], samples: Sequence[Sequence[Array]]
) -> list[list[Array]]:
    """What the evaluator gives, but for graphs with a requantize."""
    added = any(isinstance(node.op, Requantize) for node in graph.nodes)
    return [[y + np.asarray(added, y.dtype) for y in graph(*sample)] for sample in samples]


def test_a_planted_bug_in_integers_is_found_reduced_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz_integers, "setting_of", lambda seed: PLAIN)
    monkeypatch.setattr(fuzz_integers, "compiled", lambda *_: None)
    monkeypatch.setattr(fuzz_integers, "outputs_of", wrong)
    arguments = f"fuzz --minutes 0.02 --seed 7 --kinds int8 --targets x86-64-v3 --output {tmp_path / 'found'}"
    monkeypatch.setattr(sys, "argv", arguments.split())
    with pytest.raises(SystemExit) as ended:
        fuzz.main()
    assert ended.value.code == 1
    assert "findings" in capsys.readouterr().err
    stored = next((tmp_path / "found").glob("*-requantize.gopt"))
    small = graphopt.load(stored)
    assert [n.op.name for n in small.nodes if not isinstance(n.op, Input | Constant)] == ["requantize"]
    text = stored.with_suffix(".txt").read_text()
    assert text.startswith("# int8-x86-64-v3, seed ") and "Setting(" in text


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-m4"])
def test_integers_agree(target: str, seed: int) -> None:
    assert fuzz_integers.examine(integer_graph(seed), f"int8-{target}", seed) is None


def test_targets_take_turns() -> None:
    ways = fuzz_integers.integers(["x86-64-v3", "x86-64-v2", "host"]).ways
    assert [list(ways(count)) for count in (0, 1)] == [
        ["int8-x86-64-v3", "int8-x86-64-v2"],
        ["int8-host", "int8-x86-64-v3"],
    ]


def test_ports_are_those_with_a_plane() -> None:
    graph = next(g for seed in range(9) if (g := integer_graph(seed)).inputs[0].type.rank > 2)
    ports = ports_for(graph, Setting("speed", "native", io_in_arena=True, channels_last=True, pixels=True, ram=0.5))
    assert ports[graph.names[graph.inputs[0].node]] == fuzz_integers.PIXELS
