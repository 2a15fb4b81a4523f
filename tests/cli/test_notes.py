"""What the commands say unasked is what a user must know, once; the rest comes with --explain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from shell import Shell

import graphopt
from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import CumSum, Linear, Mul, Relu
from graphopt.passes import PASSES, Context, Exact, Note, Pass


class Alarmed(Pass, name="test-alarmed", contract=Exact()):
    """Sounds an alarm, and says something that nobody has to hear."""

    def run(self, graph: Graph, context: Context) -> Graph:
        context.notes += [Note(self.name, "x", "overflows", alarm=True), Note(self.name, "x", "no fit", declined=True)]
        return graph


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    yield
    del PASSES["test-alarmed"]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Layers that become integer, with scales that do not fold, and sums that stay float."""
    rng = np.random.default_rng(0)
    x = y = arg("x", "float32", (Batch(), 8))
    for i in range(6):
        weight = constant(rng.standard_normal((8, 8)).astype("float32"))
        y = Relu()(Linear()(y, weight, constant(np.zeros(8, "float32")), name=f"layer{i}"))
        y = CumSum(axis=1)(Mul()(y, x), name=f"sums{i}")
    graphopt.save(Graph((x,), (y,)), tmp_path / "net.gopt")
    np.save(tmp_path / "x.npy", rng.standard_normal((8, 8)).astype("float32"))
    return tmp_path / "net.gopt"


def test_compile_tells_what_stays_float_and_not_why_folds_did_not_fit(shell: Shell, net: Path, tmp_path: Path) -> None:
    words = ("compile", net, "-o", tmp_path / "o", "-t", "cortex-m4", "--quantize", "int8", "--calibration")
    text = shell(*words, net.with_name("x.npy"))
    assert text.count("stays float") == 1, "alike, therefore counted"
    assert "sums0, sums1, sums2 and 3 more" in text
    assert "is not constant" not in text
    text = shell(*words, net.with_name("x.npy"), "--explain")
    assert text.count("stays float") == 6 and "on integers" in text


def test_opt_keeps_its_output_for_the_graph(shell: Shell, net: Path) -> None:
    text = shell("opt", net, "-p", "test-alarmed")
    assert text.startswith("graph ") and "overflows" not in text
    assert "alarm" in shell.errors and "overflows" in shell.errors and "no fit" not in shell.errors
    assert "no fit" in shell("opt", net, "-p", "test-alarmed", "--explain")


def test_notes_of_passes_unknown_are_for_authors() -> None:
    assert not Note("no-such-pass", "x", "declined", declined=True).for_users
    assert not Note("fold-affine", "x", "is not constant", declined=True).for_users
    assert Note("prune-channels", "x", "kept: why", declined=True).for_users
    assert not Note("prune-channels", "x", "8 of 16 units removed").for_users
