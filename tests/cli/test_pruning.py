"""``graphopt prune`` on a small file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from pruning.nets import Builder, residual_net, weight

import graphopt
from graphopt.cli import main
from graphopt.ir import Graph, arg
from graphopt.ops import Gather


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
    assert graphopt_prune(monkeypatch, str(model), "--ratio", "0.5", "--importance", "beauty") == 2
    assert "no criterion is called 'beauty'" in capsys.readouterr().err


@pytest.fixture
def samples(model: Path) -> Path:
    """Images, and the classes that the net gives them, but for one."""
    x = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype("float32")
    net = graphopt.load(model)
    classes = np.concatenate([net(part)[0].argmax(1) for part in np.split(x, 20)])
    classes[0] = (classes[0] + 1) % 5
    path = model.with_name("samples.npz")
    np.savez(path, images=x, classes=classes)
    return path


Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("importance", ["magnitude", "activation", "taylor", "hessian"])
def test_it_tells_what_is_left_on_data(
    importance: str, model: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    options = ("--ratio", "0.7", "--data", str(samples), "--labels", "classes", "--importance", importance)
    assert graphopt_prune(monkeypatch, str(model), *options) == 0
    told = capsys.readouterr()
    assert "dB of signal to noise are left of its variation, on 40 samples" in told.out
    assert re.search(r"before +top1 +97\.50%", told.out)
    assert "warning: little is left of the output" in told.err
    assert ("choose by data" in told.err) == (importance == "magnitude")


@pytest.mark.parametrize("importance", ["taylor", "hessian"])
def test_without_labels_the_outputs_of_the_model_are_wanted(
    importance: str, model: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    alone = samples.with_name("images.npy")
    np.save(alone, np.load(samples)["images"])
    options = ("--ratio", "0.2", "--data", str(alone), "--importance", importance)
    assert graphopt_prune(monkeypatch, str(model), *options) == 0
    assert "of them keep their class" in capsys.readouterr().out


def test_without_data_random_inputs_are_taken_and_said_to_be(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert graphopt_prune(monkeypatch, str(model), "--ratio", "0.9") == 0
    told = capsys.readouterr()
    assert "dB of signal to noise are left of the output, on 32 random inputs" in told.out
    assert "give --data to know" in told.err


def test_what_random_inputs_cannot_tell_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """A table of three rows, of which random indices read others."""
    b, x, small = Builder(), arg("x", "int64", (4,)), tmp_path / "small.gopt"
    net = Graph((x,), (b.linear(Gather()(b.w("table", 3, 8), x), 2, "head"),))
    graphopt.save(net, tmp_path / "model.gopt")
    assert graphopt_prune(monkeypatch, str(tmp_path / "model.gopt"), "--ratio", "0.5", "-o", str(small)) == 0
    assert "what is left of the outputs is not known" in capsys.readouterr().err
    assert weight(graphopt.load(small), "head.weight").shape == (2, 4)


def test_nothing_is_warned_of_where_all_is_left(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert graphopt_prune(monkeypatch, str(model), "--dead") == 0
    told = capsys.readouterr()
    assert "unchanged" in told.out
    assert "warning" not in told.err


REFUSED: list[tuple[tuple[str, ...], str]] = [
    ((), "neither a ratio nor a budget says how much is to go"),
    (("--ratio", "0.1", "--importance", "taylor"), "--importance taylor: it needs samples"),
    (("--ratio", "0.1", "--labels", "classes"), "labels need samples"),
    (("--ratio", "0.1", "--data", "SAMPLES", "--key", "pictures"), "has no array 'pictures'"),
    (("--ratio", "0.1", "--data", "SAMPLES", "--labels", "names"), "--labels names: no array is called so"),
    (("--ratio", "0.1", "--dead"), "a ratio or budget has no say in what is dead"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_what_cannot_be_is_told(
    options: tuple[str, ...],
    message: str,
    model: Path,
    samples: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    given = [str(samples) if o == "SAMPLES" else o for o in options]
    assert graphopt_prune(monkeypatch, str(model), *given) == 2
    assert message in capsys.readouterr().err


def test_labels_that_do_not_fit_are_told(
    model: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    x = np.load(samples)["images"]
    wrong = {"fewer": np.arange(39) % 5, "classes": np.arange(40), "words": np.full(40, "cat")}
    wanted = {"fewer": "not as many labels as samples", "classes": "for an output of", "words": "is of <U3"}
    for name, labels in wrong.items():
        path = samples.with_name(f"{name}.npz")
        np.savez(path, x=x, y=labels)
        options = ("--ratio", "0.1", "--data", str(path), "--labels", "y")
        assert graphopt_prune(monkeypatch, str(model), *options, "--importance", "taylor") == 2
        assert wanted[name] in capsys.readouterr().err
        output = path.with_suffix(".gopt")
        assert graphopt_prune(monkeypatch, str(model), *options, "--output", str(output)) == 2
        assert not output.exists(), "what is refused writes nothing"
