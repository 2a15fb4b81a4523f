"""The commands that find out what is wrong, as a user runs them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import graphopt
from graphopt.cli import main
from graphopt.ir import Graph, arg
from graphopt.ops import Add, LeakyRelu, Sigmoid
from graphopt.passes import PASSES

EAGER = """
from graphopt.ir import Value
from graphopt.ops import LeakyRelu, Relu
from graphopt.passes import Exact, RewritePass
from graphopt.rewrite import rule


@rule(lambda relu, x: relu(x))
def forget(relu: LeakyRelu, x: Value) -> Value:
    return Relu()(x)


class Eager(RewritePass, name="eager", contract=Exact()):
    rules = (forget,)
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command in a folder with two models and the pass; gives the exit code and the output."""
    known = dict(PASSES)
    monkeypatch.chdir(tmp_path)
    Path("eager.py").write_text(EAGER)
    x = arg("x", "float32", (2, 3))
    inner = Sigmoid()(Add()(x, x, name="sum"), name="gate")
    for name, alpha in (("a.gopt", 0.5), ("b.gopt", 0.25)):
        y = LeakyRelu(alpha=alpha)(Add()(x, inner), name="act")
        graphopt.save(Graph((x,), (Add()(y, inner, name="end"),), ("y",)), name)
    graphopt.save(graphopt.load("a.gopt"), "a.onnx")

    def command(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["graphopt", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out + output.err

    yield command
    PASSES.clear()
    PASSES.update(known)


def test_bisect_names_the_rule_and_the_node(run: Run) -> None:
    code, text = run("opt", "a.onnx", "--load", "eager.py", "-p", "cse,eager,fuse", "--bisect")
    assert code == 1
    for line in ("pass: eager", "rule: forget", "node: act", "allowed 1e-09", "%act = relu"):
        assert line in text
    code, text = run("opt", "a.gopt", "--bisect")
    assert (code, text.strip()) == (0, "every pass keeps its contract")


def test_reduce_writes_the_small_graph(run: Run) -> None:
    code, text = run("reduce", "a.gopt", "--load", "eager.py", "-p", "cse,eager", "-o", "small.gopt")
    assert code == 0 and "eager fails" in text
    small = graphopt.load("small.gopt")
    assert [n.op.name for n in small.nodes] == ["input", "leaky_relu"]
    assert Path("small.txt").read_text() == f"{small}\n"
    code, text = run("reduce", "a.gopt", "-p", "cse", "-o", "none.gopt")
    assert code == 2 and "nothing to reduce" in text and not Path("none.gopt").exists()
    code, text = run("reduce", "a.gopt", "-o", "none.onnx")
    assert code == 2 and "must end in .gopt" in text


def test_diff_compares_texts_and_numbers(run: Run) -> None:
    assert run("diff", "a.gopt", "a.gopt") == (0, "the same\n")
    code, text = run("diff", "a.gopt", "b.gopt")
    assert code == 1 and "alpha = 0.25" in text and "output y: differs by 0." in text
    x = arg("x", "float32", (2, 4))
    graphopt.save(Graph((x,), (Sigmoid()(x),), ("y",)), "c.gopt")
    code, text = run("diff", "a.gopt", "c.gopt")
    assert code == 1 and "are not compared" in text


@pytest.mark.parametrize("output", ["o.gopt", "o.onnx"])
def test_opt_writes_what_it_made(run: Run, output: str) -> None:
    code, text = run("opt", "a.onnx", "-o", output)
    assert (code, text) == (0, "")
    assert "fused" in {n.op.name for n in graphopt.load(output).nodes} or output.endswith(".onnx")
    assert run("diff", "a.gopt", output)[0] == (output == "o.gopt")
    assert run("opt", "a.onnx", "-o", "o.pt")[0] == 2


def test_inspect_shows_the_peak(run: Run) -> None:
    code, text = run("inspect", "a.gopt", "--layers")
    assert code == 0
    assert "live bytes" in text and "peak layer" in text and "gate" in text


def test_debug_levels_tell_on_stderr(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHOPT_DEBUG", "1")
    assert "graphopt: cse: " in run("opt", "a.gopt", "-p", "cse", "-o", "o.gopt")[1]
    monkeypatch.setenv("GRAPHOPT_DEBUG", "9")
    assert run("opt", "a.gopt", "-p", "cse")[0] == 2
