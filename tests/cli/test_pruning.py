"""``graphopt prune`` on a small file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pruning.nets import residual_net, weight

import graphopt
from graphopt.cli import main


def graphopt_prune(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["graphopt", "prune", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    graphopt.save(residual_net(), path)
    return path


def test_prunes_explains_and_writes(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = model.with_name("small.onnx")
    options = ("--ratio", "0.5", "--scope", "local", "--importance", "magnitude", "--explain", "--check")
    assert graphopt_prune(monkeypatch, str(model), *options, "-o", str(small)) == 0
    told = capsys.readouterr().out
    assert "8 of 16 units removed" in told
    assert "kept: it is a graph output" in told
    assert "macs" in told
    x = np.zeros((2, 3, 8, 8), "float32")
    assert graphopt.load(small)(x)[0].shape == (2, 5)
    assert weight(graphopt.load(small), "block.1.weight").shape == (8, 8, 3, 3)


def test_dead_channels_only(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert graphopt_prune(monkeypatch, str(model), "--dead", "-o", str(model.with_name("small.gopt"))) == 0
    assert "macs" in capsys.readouterr().out


def test_a_wrong_option_is_told(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert graphopt_prune(monkeypatch, str(model), "--importance", "beauty") == 2
    assert "no criterion is called 'beauty'" in capsys.readouterr().err
