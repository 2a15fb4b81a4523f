"""What commands print for programs that read it: JSON with a version, and tables that a pipe does not fold."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click import Context
from shell import Shell

import graphopt
from graphopt.cli.main import COMMANDS, app
from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import Linear


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "x.npy"
    np.save(path, np.random.default_rng(0).standard_normal((8, 3, 6, 6)).astype(np.float32))
    return path


def parsed(shell: Shell, *words: object, status: int = 0) -> dict[str, Any]:
    """The one object that a command prints; also where it ends in a status of its own."""
    found: dict[str, Any] = json.loads(shell(*words, "--json", status=status, printed=True))
    assert (found["version"], found["command"]) == (1, words[0])
    return found


def test_compile_and_inspect(shell: Shell, model: Path, samples: Path, tmp_path: Path) -> None:
    quantized = ("--quantize", "int8", "--calibration", samples)
    found = parsed(shell, "compile", model, "-t", "cortex-m4", "-o", tmp_path / "o", *quantized)
    program = found["program"]
    assert program["inputs"][0]["dtype"] == "int8" and program["inputs"][0]["scale"] > 0
    assert program["weight_bytes"] and program["code_bytes"]
    assert program["kernels"][0]["macs"] == 4 * 27 * 36
    again = parsed(shell, "inspect", tmp_path / "o")
    assert {name: value for name, value in again.items() if name != "command"} == {"version": 1, **program}
    text = shell("inspect", tmp_path / "o", "--layers")
    assert re.search(r"conv_integer.*3,888", text)


def test_inspect_model(shell: Shell, model: Path) -> None:
    found = parsed(shell, "inspect", model)
    assert found["inputs"] == [{"name": "x", "type": "float32[N, 3, 6, 6]"}]
    assert found["cost"]["parameters"] == 112
    assert [layer["operator"] for layer in found["layers"]] == ["conv", "relu", "reduce_mean"]


def test_bench(shell: Shell, model: Path) -> None:
    (row,) = parsed(shell, "bench", model, "-t", "cortex-m4")["targets"]
    assert row["equal"] is True and row["instructions"] > 1000 and row["seconds"] is None


def test_prune(shell: Shell, tmp_path: Path) -> None:
    x = arg("x", "float32", (Batch(), 4))
    first, second = (constant(np.eye(4, dtype=np.float32)) for _ in range(2))
    bias = constant(np.zeros(4, np.float32))
    graphopt.save(Graph((x,), (Linear()(Linear()(x, first, bias), second, bias),)), tmp_path / "two.gopt")
    found = parsed(shell, "prune", tmp_path / "two.gopt", "--ratio", "0.5")
    assert found["after"]["macs"] < found["before"]["macs"]
    assert found["left"]["on_data"] is False


def test_diff(shell: Shell, model: Path, tmp_path: Path) -> None:
    shell("opt", model, "-o", tmp_path / "fused.gopt")
    same = parsed(shell, "diff", model, model)
    assert (same["changes"], same["outputs"]) == ("", [])
    other = parsed(shell, "diff", model, tmp_path / "fused.gopt", status=1)
    assert "fused" in other["changes"] and other["outputs"][0]["difference"] < 1e-6


def test_catalogs(shell: Shell) -> None:
    assert "cortex-m4" in [row["name"] for row in parsed(shell, "targets")["targets"]]
    fuse = next(row for row in parsed(shell, "passes")["passes"] if row["name"] == "prune-channels")
    assert fuse["options"]["steps"] == "1"
    assert {"tools", "missing"} <= set(parsed(shell, "doctor"))


def test_a_pipe_gets_no_lines_and_no_folds(shell: Shell, samples: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / ("long" * 30)
    texts = [
        shell("compile", model, "-o", out, "-t", "cortex-m4", "--layers"),
        shell("passes"),
        shell("targets"),
        shell("opt", model, "--diff", "--time"),
    ]
    for text in texts:
        assert not re.search("[\u2500-\u257f]", text)
    assert str(out) in texts[0]
    assert "Remove the axes" in texts[1] or max(map(len, texts[1].splitlines())) > 200


def test_details_of_quantization(shell: Shell, model: Path, samples: Path, tmp_path: Path) -> None:
    quantized = ("-t", "cortex-m4", "--quantize", "int8", "--calibration", samples)
    plain = parsed(shell, "compile", model, "-o", tmp_path / "a", *quantized)["program"]
    wide = parsed(shell, "compile", model, "-o", tmp_path / "b", *quantized, "--activations", "int16")["program"]
    assert (plain["outputs"][0]["dtype"], wide["outputs"][0]["dtype"]) == ("int8", "int16")
    # where constants of all channels are stored once; routines have those of each channel beside its weights
    apart = ("-t", "aarch64", *quantized[2:])
    many = parsed(shell, "compile", model, "-o", tmp_path / "e", *apart)
    one = parsed(shell, "compile", model, "-o", tmp_path / "c", *apart, "--per-tensor", "--observer", "mse")
    assert one["program"]["weight_bytes"] < many["program"]["weight_bytes"]
    kept = parsed(shell, "compile", model, "-o", tmp_path / "d", *quantized, "--override", "*conv*=float32")
    assert kept["program"]["weight_bytes"] > plain["weight_bytes"]
    assert parsed(shell, "bench", model, *quantized, "--override", "*conv*=int16")["targets"][0]["equal"]
    for words in (("--override", "a=int16"), ("--activations", "int16"), ("--per-tensor",), ("--observer", "mse")):
        assert "nothing is quantized" in shell("compile", model, "-o", tmp_path / "f", *words, status=2)
    assert "names no layer" in shell("compile", model, "-o", tmp_path / "f", *quantized, "--override", "a", status=2)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_an_example_that_it_understands(command: Any) -> None:
    program, name, *words = shlex.split(command.example)
    assert (program, name) == ("graphopt", command.name)
    known = typer.main.get_command(app).get_command(Context(typer.main.get_command(app)), name)  # type: ignore[attr-defined]
    known.make_context(name, words, resilient_parsing=False)
