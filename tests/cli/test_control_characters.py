"""Names of a model that would command the terminal, forge a message or end a comment: no command shows them raw."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from shell import Shell

import graphopt
from graphopt.errors import InvalidGraph, InvalidInput, printable

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\nerror: forged\u2028\u202e\u2066*/ ??/ \\\n\t[red]"


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x -> conv -> relu -> transpose -> mean, everything called something evil."""
    folder = tmp_path_factory.mktemp("evil")
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype("float32"), f"w{EVIL}")
    nodes = [
        helper.make_node("Conv", [f"x{EVIL}", f"w{EVIL}"], [f"c{EVIL}"], name=f"conv{EVIL}"),
        helper.make_node("Relu", [f"c{EVIL}"], [f"r{EVIL}"], name=f"relu{EVIL}"),
        helper.make_node("Mul", [f"r{EVIL}", f"r{EVIL}"], [f"y{EVIL}"], name=f"mul{EVIL}"),
    ]
    ports = [
        [helper.make_tensor_value_info(f"{name}{EVIL}", TensorProto.FLOAT, shape)]
        for name, shape in (("x", ["N", 3, 6, 6]), ("y", ["N", 4, 4, 4]))
    ]
    graph = helper.make_graph(nodes, f"graph{EVIL}", *ports, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "evil.onnx")
    np.save(folder / "x.npy", rng.standard_normal((4, 3, 6, 6)).astype("float32"))
    steps = '[[steps]]\ndo = "distill"\nteacher = "evil.onnx"\nepochs = 1\nbatch_size = 2\n'
    (folder / "recipe.toml").write_text(f'model = "evil.onnx"\n[data]\nfile = "x.npy"\n{steps}')
    (folder / "wrong.toml").write_text('model = "evil.onnx"\n[data]\nfile = "x.npy"\n[[steps]]\ndo = "\\u001b[2J"\n')
    together = 'model = "evil.onnx"\n[data]\nclients = ["x.npz", "\\u001b[2J.npz"]\n'
    (folder / "together.toml").write_text(together)
    np.savez(folder / "x.npz", **{f"other{EVIL.replace('/', '')}": np.zeros(3), "more": np.zeros(3)})
    return folder


COMMANDS = {
    "inspect": ("inspect {0}/evil.onnx --layers", 0),
    "opt": ("opt {0}/evil.onnx --explain --diff --print-after-all --time", 0),
    "opt to a file": ("opt {0}/evil.onnx -o {1}/new.gopt", 0),
    "compile": ("compile {0}/evil.onnx -o {1}/new", 0),
    "compile to C": ("compile {0}/evil.onnx -o {1}/new-c -t cortex-m4 --quantize int8 --calibration {0}/x.npy", 0),
    "run": ("run {1}/a --input {0}/x.npy", 0),
    "run with nothing": ("run {1}/a --input z={0}/x.npy", 2),
    "bench": ("bench {0}/evil.onnx -t host", 0),
    "analyze": ("analyze {0}/evil.onnx --data {0}/x.npy", 0),
    "prune": ("prune {0}/evil.onnx --dead --explain", 0),
    "train": ("train {0}/recipe.toml -o {1}/trained.gopt", 0),
    "train by a wrong recipe": ("train {0}/wrong.toml", 2),
    "federate": ("federate {0}/together.toml", 2),
    "diff": ("diff {0}/evil.onnx {1}/evil.gopt", 1),
    "bisect": ("opt {0}/evil.onnx --bisect", 0),
    "reduce": ("reduce {0}/evil.onnx -o {1}/r.gopt", 2),
    "arrays of evil names": ("opt {0}/evil.onnx -p quantize --calibration {0}/x.npz", 2),
    "a shape of another name": ("inspect {0}/evil.onnx --shape y=3", 2),
    "a budget": ("compile {0}/evil.onnx -o {1}/b -t {0}/tiny.toml", 2),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, evil: Path) -> Path:
    """A folder with the model as .gopt, as a library and as C."""
    folder = tmp_path_factory.mktemp("written")
    graph = graphopt.load(evil / "evil.onnx")
    graphopt.save(graphopt.optimize(graph), folder / "evil.gopt")
    graphopt.compile(graph, "host").save(folder / "a")
    graphopt.compile(graph, "cortex-m4").save(folder / "c")
    return folder


@pytest.mark.parametrize("case", COMMANDS)
def test_no_command_shows_them(
    case: str, shell: Shell, evil: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (evil / "tiny.toml").write_text('[tiny]\nbase = "cortex-m4"\nram = 16\ndescription = "\\u001b[2J"\n')
    monkeypatch.setenv("GRAPHOPT_DEBUG", "3")
    words, status = COMMANDS[case]
    text = shell(*(w.format(evil, written) for w in words.split()), status=status) + shell.errors
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert not re.search(r"^error: forged", text, re.MULTILINE)


def test_no_written_c_has_them(written: Path) -> None:
    for file in (f for f in (written / "c").iterdir() if f.name != "manifest.json"):
        text = file.read_text()
        assert not [c for c in text if c not in "\n\t" and not c.isprintable()]
        assert "??/" not in text and "forged\n" not in text
    assert EVIL[:6] not in (written / "c" / "manifest.json").read_text()


def test_errors_quote_them_harmlessly() -> None:
    error = InvalidGraph(f"bad {EVIL}", where=EVIL, why=EVIL, advice="line one\nline two")
    assert not [c for c in str(error) if not c.isprintable() and c != "\n"]
    assert all(line.startswith("  ") for line in str(error).splitlines()[1:])
    assert str(InvalidInput("größe 漢字", where="a b")) == "a b: größe 漢字"
    assert printable("a\tb\ud800\u202e") == "a\\tb\\ud800\\u202e"
