"""What is missing or broken on the machine stops only what needs it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from shell import Shell


def test_a_project_is_written_without_its_compiler(
    shell: Shell, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = shell("compile", model, "-o", tmp_path / "out", "-t", "cortex-m4")
    assert "unknown: arm-none-eabi-size is not installed (sudo apt-get install -y gcc-arm-none-eabi" in text
    assert "weight bytes" in text and (tmp_path / "out" / "model.c").exists()


def test_a_broken_plug_in_leaves_the_rest(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    points = importlib.metadata.EntryPoints(
        [importlib.metadata.EntryPoint(name, f"no_such_module_{name}", "graphopt.passes") for name in ("a", "b")]
    )
    monkeypatch.setattr("graphopt.passes.plugins.entry_points", lambda group: points)
    assert "fuse" in shell("passes")
    assert "the passes of a = no_such_module_a are left out" in shell.errors
    assert "no_such_module_b" in shell.errors


@pytest.mark.parametrize(("size", "fine"), [("64K", True), ("0x9", False), ("many", False)])
def test_sizes_have_units(size: str, fine: bool, shell: Shell, model: Path) -> None:
    text = shell("prune", model, "--target-bytes", size, status=0 if fine else 2)
    assert fine or "is no number of bytes" in text
