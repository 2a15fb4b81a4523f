"""What is missing or broken on the machine stops only what needs it."""

from __future__ import annotations

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


def test_a_library_is_left_to_be_linked_without_its_linker(
    shell: Shell, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = shell("compile", model, "-o", tmp_path / "out", "-t", "aarch64")
    assert "unknown: aarch64-linux-gnu-gcc is not installed (sudo apt-get install -y gcc-aarch64" in text
    assert (
        "not linked: aarch64-linux-gnu-gcc is not installed; with it, or on the machine itself, `make`" in shell.errors
    )
    assert {"model_kernels.o", "model.c", "Makefile"} <= {f.name for f in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(("size", "fine"), [("64K", True), ("0x9", False), ("many", False)])
def test_sizes_have_units(size: str, fine: bool, shell: Shell, model: Path) -> None:
    text = shell("prune", model, "--target-bytes", size, status=0 if fine else 2)
    assert fine or "is no number of bytes" in text
