"""Nothing that is loaded is trusted: a hostile file ends in a GraphoptError, soon, in little memory, none written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostile.corpus import files
from hostile.sources import mutant, sources

WORKER = Path(__file__).parent / "worker.py"
FORKS = Path(__file__).parent / "forks.py"
MAX_GROWTH = 1 << 30
MAX_SECONDS = 5.0


def load_all(paths: list[Path]) -> list[dict[str, Any]]:
    """What became of each file, loaded in a process of limited memory."""
    command = [sys.executable, "-W", "ignore", str(WORKER)]
    done = subprocess.run(command, input="\n".join(map(str, paths)), capture_output=True, text=True, timeout=3000)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(paths), (
        f"{paths[len(lines)]} ended the process with {done.returncode}: {done.stderr[-2000:]}"
    )
    for line in lines:
        assert line["outcome"] != "crashed", f"{line['path']}: {line['error']}"
        assert line["seconds"] < MAX_SECONDS, line
        assert line["grown"] < MAX_GROWTH, line
    return lines


def contents(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if not p.is_symlink()}


def test_the_corpus_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    paths = files(folder)
    before = contents(tmp_path)
    for line in load_all(paths):
        assert line["outcome"] == "refused", line
        assert "cannot be read" not in line["error"], (
            "the boundary of load caught what should have a message of its own"
        )
    assert contents(tmp_path) == before


def test_the_sound_sources_load(tmp_path: Path) -> None:
    for name, data in sources().items():
        (tmp_path / name).write_bytes(data)
    assert {line["outcome"] for line in load_all(sorted(tmp_path.iterdir()))} == {"loaded"}


def hold_mutants(folder: Path, seeds: range) -> None:
    known, paths = sources(), []
    for seed in seeds:
        name, data = mutant(seed, known)
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    outcomes = [line["outcome"] for line in load_all(paths)]
    refused, loaded = outcomes.count("refused"), outcomes.count("loaded")
    print(f"{len(outcomes)} mutants: {refused} refused, {loaded} loaded")
    assert refused > len(outcomes) // 3


def test_mutants(tmp_path: Path) -> None:
    hold_mutants(tmp_path, range(400))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_mutants(tmp_path: Path, part: int) -> None:
    hold_mutants(tmp_path, range(1000 * part, 1000 * part + 1000))


COMMANDS = {
    "large_constant_of_shape.onnx": ["opt", "{}", "-o", "out.onnx"],
    "large_functions_of_functions.onnx": ["inspect", "{}"],
    "malformed_cyclic.onnx": ["compile", "{}", "-o", "out"],
    "external_parent.onnx": ["opt", "{}", "-o", "out.gopt"],
    "pickle.pt": ["opt", "{}", "-o", "out.onnx"],
    "sparse.onnx": ["inspect", "{}"],
    "text_brackets.gopt": ["opt", "{}", "-o", "out.gopt"],
    "digest.gopt": ["reduce", "{}", "-o", "out.gopt"],
    "folder.onnx": ["diff", "{}", "{}"],
    "nothing.onnx": ["opt", "{}", "--bisect"],
}


def test_the_command_line_ends_with_code_2(tmp_path: Path) -> None:
    """Each command in a process of limited memory; all of them are forks of one, which has imported what they need."""
    folder = tmp_path / "models"
    folder.mkdir()
    files(folder)
    before = contents(tmp_path)
    commands = [[a.format(folder / name) for a in words] for name, words in COMMANDS.items()]
    started = subprocess.run(
        [sys.executable, "-W", "ignore", str(FORKS)],
        input=json.dumps(commands),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    ends = json.loads(started.stdout)
    assert len(ends) == len(COMMANDS), started.stderr
    for name, (code, errors) in zip(COMMANDS, ends, strict=True):
        assert code == 2, f"{name}: {errors}"
        assert "error:" in errors and "Traceback" not in errors, f"{name}: {errors}"
    assert contents(tmp_path) == before
