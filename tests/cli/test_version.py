"""The version of graphopt, and what shells complete."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from shell import Shell

import graphopt

ENTRY = "import sys; sys.argv[0] = 'graphopt'; from graphopt.cli import main; main()"
"""As the script that an installation has."""


def test_the_version_is_that_of_the_project(shell: Shell) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert graphopt.__version__ == version("graphopt") == project["version"]
    assert "__version__" in dir(graphopt)
    assert shell("--version").strip() == f"graphopt {graphopt.__version__}"


def entry(environment: dict[str, str], *words: str) -> str:
    fixed = {"PYTHONPATH": str(Path(__file__).parents[2]), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-c", ENTRY, *words]
    return subprocess.run(command, env={**fixed, **environment}, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("typed", "offered"), [("graphopt comp", "compile"), ("graphopt compile --targ", "--target")])
def test_shells_complete_commands_and_options(typed: str, offered: str) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    assert entry({"_GRAPHOPT_COMPLETE": "complete_bash", **words}).split() == [offered]


def test_the_script_of_a_shell_is_shown_and_installed(tmp_path: Path) -> None:
    assert "complete -o default -F _graphopt_completion graphopt" in entry({}, "--show-completion", "bash")
    assert "installed" in entry({"HOME": str(tmp_path)}, "--install-completion", "bash")
    assert "_GRAPHOPT_COMPLETE" in (tmp_path / ".bash_completions" / "graphopt.sh").read_text()
