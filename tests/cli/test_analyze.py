"""``graphopt analyze`` on a small file with a bad layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import graphopt
from graphopt.cli import main
from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import Linear, Relu


def graphopt_analyze(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["graphopt", "analyze", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Three layers, of which ``bad`` has one large weight for an input that is always 0; and data, as .npy and .npz."""
    rng = np.random.default_rng(0)
    x = arg("x", "float32", (Batch(), 8))
    y = x
    for name in ("bad", "good", "last"):
        weight = rng.standard_normal((8, 8)).astype("float32")
        weight[0, 0] = 300 if name == "bad" else weight[0, 0]
        y = Relu()(Linear()(y, constant(weight), constant(np.zeros(8, "float32")), name=name))
    graphopt.save(Graph((x,), (y,)), tmp_path / "model.gopt")
    samples = rng.standard_normal((32, 8)).astype("float32")
    samples[:, 0] = 0
    np.save(tmp_path / "data.npy", samples)
    np.savez(tmp_path / "data.npz", x=samples)
    return tmp_path / "model.gopt"


@pytest.mark.parametrize("data", ["data.npy", "data.npz"])
def test_shows_the_culprit_and_what_helps(
    data: str, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--quantize", "int8", "--per-tensor", "--data", model.with_name(data))
    assert graphopt_analyze(monkeypatch, model, *options) == 0
    told = capsys.readouterr().out
    assert told.index("bad") < told.index("good")
    assert "--override bad=float32" in told


def test_gives_json(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = model.with_name("data.npz")
    assert graphopt_analyze(monkeypatch, model, "--per-tensor", "--data", data, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layers"][0]["name"] == "bad"
    assert found["suggestions"][0]["gain"] > 6
    report = graphopt.analyze_quantization(
        graphopt.load(model), np.load(data)["x"], graphopt.passes.Quantize(per_channel=False)
    )
    assert found == {"command": "analyze", **json.loads(report.to_json())}


def test_refuses_what_it_cannot_read(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert graphopt_analyze(monkeypatch, model, "--data", model.with_name("none.npy")) == 2
    assert "none.npy" in capsys.readouterr().err
    assert graphopt_analyze(monkeypatch, model, "--data", model.with_name("data.npy"), "--quantize", "int3") == 2
    assert "int3" in capsys.readouterr().err
