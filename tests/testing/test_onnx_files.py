"""ONNX files drawn at random: a sample of them agrees with ONNX Runtime, and a planted fault is found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.errors import Unsupported
from graphopt.ir import Array, Graph
from graphopt.testing.onnx_files import DRAWS, Tally, draw_file, drawing, examine, examine_files, report, search
from graphopt.testing.onnx_files.search import check_file, main

NEVER = 1 << 30


def test_a_sample() -> None:
    """Every operator once at least; programs of this machine have tests of their own."""
    tally = examine_files(len(DRAWS), seed=0, host_every=NEVER)
    assert not tally.findings
    assert len(tally.compared) >= 130
    assert f"{len(DRAWS)} files" in report(tally)


@pytest.mark.slow
def test_many() -> None:
    tally = examine_files(2000, seed=0)
    assert not tally.findings
    assert set(tally.compared) == set(DRAWS)


def test_a_seed_draws_the_same_file() -> None:
    for seed in (3, 40, 77):
        first, second = draw_file(seed), draw_file(seed)
        assert first is not None and second is not None
        assert first.model(True).SerializeToString() == second.model(True).SerializeToString()
        assert all(np.array_equal(a, second.inputs[n]) for n, a in first.inputs.items())


def test_files_are_valid_onnx() -> None:
    for seed in range(0, len(DRAWS), 7):
        file = draw_file(seed)
        assert file is not None
        onnx.checker.check_model(file.model(False), full_check=True)


def wrong(graph: Graph, given: Mapping[str, Array]) -> Sequence[Array]:
    """A little too much wherever a softplus is."""
    factor = 1.001 if any(node.op.name == "softplus" for node in graph.nodes) else 1
    return [a * np.asarray(factor, a.dtype) for a in examine.by_evaluator(graph, given)]


def test_a_planted_fault_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examine, "WAYS", {"evaluator": wrong})
    monkeypatch.setattr(search, "WAYS", {"evaluator": wrong})
    seed = sorted(DRAWS).index("Softplus")
    with pytest.raises(SystemExit) as ended:
        main(["--files", "1", "--seed", str(seed), "--output", str(tmp_path)])
    assert ended.value.code == 1
    path = tmp_path / f"onnx-{seed}-evaluator-Softplus.onnx"
    assert "1 unexplained mismatches" in capsys.readouterr().out
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Softplus"]
    assert f"--files 1 --seed {seed}" in path.with_suffix(".txt").read_text()
    assert list(np.load(path.with_suffix(".npz")))


def test_a_crash_is_a_finding_and_a_refusal_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def crash(graph: Graph, given: Mapping[str, Array]) -> Sequence[Array]:
        raise ZeroDivisionError("planted")

    def refuse(graph: Graph, given: Mapping[str, Array]) -> Sequence[Array]:
        raise Unsupported("planted", where="a node")

    for way, state in ((crash, "crashed"), (refuse, "refused")):
        monkeypatch.setattr(examine, "WAYS", {"evaluator": way})
        tally = Tally()
        check_file(0, tally, tmp_path, host=False)
        assert tally.states["evaluator", state] == 1
        assert bool(tally.findings) == (way is crash)


def test_where_onnxruntime_departs_is_no_fault(tmp_path: Path) -> None:
    file = drawing.FileDrawing(np.random.default_rng(0), 18)
    x, roi = file.input(np.arange(5, dtype=np.float32)), file.constant([0.5, 1.0], "float32")
    how: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "tf_crop_and_resize"}
    file.node("Resize", [x, roi, "", file.constant([5], "int64")], **how)
    model, given, tally = file.model(False), {"x0": file.inputs["x0"]}, Tally()
    (outcome,) = examine.examine(model, given, 1, ["evaluator"])
    assert outcome.state == "differs"
    outcome = search.settled(file, model, given, outcome, 0, tmp_path, tally)
    assert outcome.state == "excepted" and "keeps its length" in outcome.detail and not tally.findings


def test_it_says_that_onnxruntime_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing.onnxruntime.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Unsupported, match=r"needs onnxruntime\s+pip install"):
        examine_files(1, 0)
