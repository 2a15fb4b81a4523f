"""What packages and files of others bring is known to every command, and what is broken of it breaks nothing else."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest
from shell import Shell

from graphopt.errors import InvalidInput
from graphopt.plugins import KINDS, load_plugins
from graphopt.targets import get_target, known_targets
from graphopt.targets import target as target_module

BOARDS = '[sensor-node]\nbase = "cortex-m4"\nram = "64K"\n\n[sensor-hub]\nbase = "sensor-node"\nram = "128K"\n'
MODEL_COMMANDS = {
    "analyze": "{model} --data x.npy",
    "bench": "{model} -t host",
    "compile": "{model} -o out",
    "diff": "{model} {model}",
    "inspect": "{model}",
    "opt": "{model}",
    "prune": "{model} --dead",
    "reduce": "{model}",
}


def install(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str, str]) -> None:
    found = EntryPoints(EntryPoint(*point) for point in points)
    monkeypatch.setattr("graphopt.plugins.entry_points", lambda: found)


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The TOML file that an installed package names for its targets."""
    file, package = tmp_path / "boards.toml", ModuleType("boards_of_a_package")
    file.write_text(BOARDS)
    vars(package).update(TARGETS=file, TEXT=BOARDS)
    monkeypatch.setitem(sys.modules, "boards_of_a_package", package)
    monkeypatch.setattr(target_module, "ADDED", {})
    install(monkeypatch, ("ours", "boards_of_a_package:TARGETS", "graphopt.targets"))
    return file


@pytest.mark.parametrize("command", MODEL_COMMANDS)
def test_every_command_on_models_loads_files(command: str, shell: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise ValueError('my file ran')")
    words = MODEL_COMMANDS[command].format(model=model).split()
    assert "my file ran" in shell(command, *words, "--load", tmp_path / "mine.py", status=2)


def test_files_are_loaded_where_passes_are_not_chosen(shell: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise ValueError('my file ran')")
    words = ("-o", tmp_path / "out", "--quantize", "int8", "--calibration", "x.npy")
    assert "my file ran" in shell("compile", model, *words, "--load", tmp_path / "mine.py", status=2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_package_leaves_the_rest(
    kind: str, shell: Shell, model: Path, boards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        monkeypatch,
        ("a", "no_such_module_a", f"graphopt.{kind}"),
        ("ours", "boards_of_a_package:TARGETS", "graphopt.targets"),
        ("b", "no_such_module_b", f"graphopt.{kind}"),
    )
    assert "sensor-node" in shell("targets")
    assert f"the {kind} of a = no_such_module_a are left out" in shell.errors
    assert f"the {kind} of b = no_such_module_b are left out" in shell.errors
    shell("inspect", model)
    assert "no_such_module_a" in shell.errors


def test_targets_of_a_package_are_known_by_name(boards: Path, tmp_path: Path) -> None:
    assert load_plugins() == load_plugins() == []
    assert list(known_targets())[-2:] == ["sensor-node", "sensor-hub"]
    assert get_target("sensor-hub").ram == 128 * 1024
    (tmp_path / "mine.toml").write_text('[mine]\nbase = "sensor-node"\n')
    assert get_target(str(tmp_path / "mine.toml")).ram == 64 * 1024
    with pytest.raises(InvalidInput, match="sensor-node"):
        get_target("sensor-nod")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[cortex-m4]\nbase = 'cortex-m7'\n", "there is a target 'cortex-m4' already"),
        ("[host]\nbase = 'cortex-m7'\n", "there is a target 'host' already"),
        ("[fine]\nbase = 'cortex-m7'\n[bad]\nbase = 'no'\n", "'no' is no target"),
        ("", "no target in this file"),
        ("[", "not a TOML file"),
    ],
)
def test_bad_targets_are_left_out(text: str, wrong: str, boards: Path) -> None:
    boards.write_text(text)
    (failure,) = load_plugins()
    assert "the targets of ours = boards_of_a_package:TARGETS are left out: InvalidInput: " in failure
    assert wrong in failure and str(boards) in failure and "\n" not in failure
    assert not target_module.ADDED


def test_targets_are_a_path(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ("ours", "boards_of_a_package:TEXT", "graphopt.targets"))
    assert "is a str, not the pathlib.Path of a TOML file" in load_plugins()[0]
