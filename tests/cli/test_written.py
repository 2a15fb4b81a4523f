"""What the commands write, over what is there: whole or not at all, and nothing of the user's is lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from shell import Shell

from graphopt import Program


def test_a_folder_of_a_web_app_is_refused(shell: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "app" / "src").mkdir(parents=True)
    (tmp_path / "app" / "manifest.json").write_text("{}")
    (tmp_path / "app" / "src" / "thesis.txt").write_text("precious")
    assert "not an artifact" in shell("compile", model, "-o", tmp_path / "app", status=2)
    assert (tmp_path / "app" / "src" / "thesis.txt").read_text() == "precious"


def test_an_edited_main_is_kept_and_said_so(shell: Shell, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shell("compile", model, "-o", out, "-t", "cortex-m4")
    (out / "main.c").write_text("mine")
    (out / "board.c").write_text("mine")
    shell("compile", model, "-o", out, "-t", "cortex-m4", "--name", "net")
    assert "main.c was edited: it is kept" in shell.errors
    assert (out / "main.c").read_text() == (out / "board.c").read_text() == "mine"
    assert (out / "net.c").exists() and not (out / "model.c").exists()


def test_outputs_of_a_run_are_written_whole_or_not_at_all(
    shell: Shell, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphopt import compile, load

    compile(load(model), "host").save(tmp_path / "a")
    assert Program.load(tmp_path / "a")
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 6, 6), "float32"))
    (tmp_path / "y.npz").write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        words = ("run", tmp_path / "a", "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz")
        assert "No space" in shell(*words, status=2)
    assert (tmp_path / "y.npz").read_text() == "before"
    assert {f.name for f in tmp_path.iterdir()} == {"a", "x.npy", "y.npz"}
    shell(*words)
    assert set(np.load(tmp_path / "y.npz")) == {"file", "scores"}


def test_reduce_does_not_write_over_a_text_of_the_user(shell: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt" in shell("reduce", model, "-o", tmp_path / "notes.gopt", status=2)
    assert (tmp_path / "notes.txt").read_text() == "mine"
