"""What each kernel of a run costs: instructions by call, with what it calls, in the order of the manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import Weights
from shell import Shell

import graphopt
from graphopt.ir import Graph
from graphopt.ops import Conv, Relu, Sigmoid
from graphopt.report import kernel_costs
from graphopt.runtime import Run
from graphopt.runtime.execute import calls_of


def net() -> Graph:
    """Twice the same kernel, over as much; one that calls a function of the library; one that is a few loops."""
    g = Weights()
    x = g.x(1, 8, 6, 6)
    y = Relu()(Conv(pads=(1, 1, 1, 1))(x, g.w(8, 8, 3, 3), g.w(8), name="first"))
    y = Conv(pads=(1, 1, 1, 1))(y, g.w(8, 8, 3, 3), g.w(8), name="second")
    y = Conv(pads=(1, 1, 1, 1))(y, g.w(8, 8, 3, 3), g.w(8), name="third")
    return g.graph(Sigmoid()(y, name="squashed"))


def measured(target: str) -> tuple[graphopt.Program, Run]:
    program = graphopt.compile(net(), target)
    return program, program.measure([np.ones((1, 8, 6, 6), np.float32)])


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0"])
def test_the_calls_are_all_but_the_driver(target: str) -> None:
    program, run = measured(target)
    rows = program.manifest["kernels"]
    assert run.per_kernel is not None and run.instructions is not None
    assert len(run.per_kernel) == len(rows)
    driver = run.instructions - sum(run.per_kernel)
    assert 20 <= driver <= 40 * len(rows)
    assert run.cycles is not None and run.cycles_per_kernel is not None
    assert all(n < c < 3 * n for n, c in zip(run.per_kernel, run.cycles_per_kernel, strict=True))
    assert sum(run.cycles_per_kernel) < run.cycles
    by_node = {row["node"]: count for row, count in zip(rows, run.per_kernel, strict=True)}
    assert by_node["second"] > by_node["squashed"] > 8 * 6 * 6 * 20
    costs = kernel_costs(program, run)
    assert [c.node for c in costs] == [row["node"] for row in rows]
    assert costs[0].macs == 8 * 6 * 6 * 8 * 9


CALLS = "region 9 9\ncall 5 7\ncall 6 9\nregion 77 99\ncall 5 7\ncall 6 9\nregion 77 99\n"
"""What the counter prints of two runs of two kernels, behind the empty region."""


def test_nobody_counts_elsewhere() -> None:
    assert measured("host")[1].per_kernel is None
    assert calls_of("region 9 9\ncall 5 7\nregion 77 99\ncall 5 7\n", [(1, 2)]) is None
    assert calls_of(CALLS, [(1, 2)]) == (5, 6)
    assert calls_of(CALLS, [(1, 2)], column=1) == (7, 9)
    turns = "".join(f"call {n} {n}\n" for n in (1, 20, 300, 20, 300, 4000))
    assert calls_of(f"region 9 9\n{turns}region 77 99\n", [(1, 1), (2, 2), (1, 1)]) == (1, 40, 600, 4000)


def test_bench_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    graphopt.save(net(), tmp_path / "net.gopt")
    shell = Shell(monkeypatch, capfd)
    text = shell("bench", tmp_path / "net.gopt", "-t", "cortex-m4", "--layers")
    assert "kernels on cortex-m4" in text and "second" in text and "per MAC" in text
    assert "kernels on" not in shell("bench", tmp_path / "net.gopt", "-t", "host", "--layers")
