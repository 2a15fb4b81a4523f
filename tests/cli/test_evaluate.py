"""``graphopt evaluate``, and what other commands say of accuracy before and after."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shell import Shell, save_model

import graphopt
from graphopt.evaluation.samples import chosen_places
from graphopt.ir import Array


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net whose one output has a score for each of four classes."""
    path = tmp_path_factory.mktemp("net") / "classifier.gopt"
    graph = graphopt.load(save_model(path.with_suffix(".onnx"), ("hidden", "scores")))
    graphopt.save(replace(graph, outputs=graph.outputs[1:], output_names=graph.output_names[1:]), path)
    return path


@pytest.fixture(scope="module")
def images() -> Array:
    """Raw ones, channels last."""
    return np.random.default_rng(1).integers(0, 256, (40, 6, 6, 3)).astype("uint8")


@pytest.fixture(scope="module")
def labels(classifier: Path, images: Array) -> Array:
    """What the net says of them, a quarter of the first thirty-two turned wrong."""
    x = images.transpose(0, 3, 1, 2).astype("float32") / np.float32(255)
    found = graphopt.load(classifier)(x)[0].reshape(40, 4).argmax(1)
    return np.where((np.arange(40) < 32) & (np.arange(40) % 4 == 0), (found + 1) % 4, found)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, images: Array, labels: Array) -> Path:
    folder = tmp_path_factory.mktemp("data")
    x = images.transpose(0, 3, 1, 2).astype("float32") / np.float32(255)
    np.savez(folder / "test.npz", x=x, y=labels)
    np.savez(folder / "raw.npz", images=images, other=labels)
    np.save(folder / "labels.npy", labels)
    return folder


def test_prints_the_metric_its_interval_and_the_worst(shell: Shell, classifier: Path, data: Path) -> None:
    told = shell("evaluate", classifier, "--data", data / "test.npz", "--labels", "y", "--confusion", "--worst", 2)
    for text in ("top1", "80.00%", "65.24% to 89.50% (Wilson)", "reference evaluator", "worst samples", "predicted"):
        assert text in told
    assert "NaN" not in told


def score(shell: Shell, *words: object) -> tuple[float, int]:
    found = json.loads(shell("evaluate", *words, "--json"), parse_constant=pytest.fail)
    assert found["version"] == 1
    return found["score"]["value"], found["score"]["count"]


def test_slices_labels_apart_scale_and_layout(shell: Shell, classifier: Path, data: Path) -> None:
    assert score(shell, classifier, "--data", f"{data}/test.npz[32:]", "--labels", "y") == (1.0, 8)
    assert score(shell, classifier, "--data", f"{data}/test.npz[-8:]", "--labels", "y") == (1.0, 8)
    assert score(shell, classifier, "--data", f"{data}/test.npz[:32]", "--labels", "y") == (0.75, 32)
    raw = "--data", data / "raw.npz", "--key", "images", "--scale", "1/255", "--layout", "nhwc"
    assert score(shell, classifier, *raw, "--labels", "other") == (0.8, 40)
    assert score(shell, classifier, *raw, "--labels", data / "labels.npy") == (0.8, 40)
    assert score(shell, classifier, *raw, "--labels", f"{data}/raw.npz:other") == (0.8, 40)
    sliced = "--data", f"{data}/raw.npz[32:]", "--key", "images", "--scale", "1/255", "--layout", "nhwc"
    assert score(shell, classifier, *sliced, "--labels", f"{data}/labels.npy[32:]") == (1.0, 8)


def test_an_artifact_against_the_file_on_its_board(shell: Shell, classifier: Path, data: Path, tmp_path: Path) -> None:
    told = shell("compile", classifier, "-t", "cortex-m4", "-o", tmp_path / "board")
    assert "before" not in told
    found = json.loads(
        shell(
            *("evaluate", tmp_path / "board", "--data", data / "test.npz", "--labels", "y", "--samples", 10),
            *("--against", classifier, "--json"),
        )
    )
    assert (found["engine"], found["samples"], found["available"]) == ("QEMU cortex-m4", 10, 40)
    places = chosen_places(40, 10)
    wanted = 1 - ((places < 32) & (places % 4 == 0)).mean()
    assert found["score"]["value"] == found["against"]["score"]["value"] == wanted
    assert found["against"]["model"] == str(classifier)
    assert found["against"]["same_class"]["value"] == 1
    assert found["against"]["sqnr"] > 100


def test_before_and_after_in_other_commands(shell: Shell, classifier: Path, data: Path, tmp_path: Path) -> None:
    test = "--data", data / "test.npz", "--labels", "y"
    quantize = "--quantize", "int8", "--calibration", f"{data}/test.npz[:8]", "--key", "x"
    raw = "--key", "images", "--scale", "1/255", "--layout", "nhwc"
    of_raw = "--quantize", "int8", "--calibration", f"{data}/raw.npz[:8]", "--data", data / "raw.npz", *raw
    told = shell("compile", classifier, "-t", "cortex-m4", "-o", tmp_path / "raw", *of_raw, "--labels", "other")
    assert "80.00%" in told
    for command in (
        ("compile", classifier, "-t", "cortex-m4", "-o", tmp_path / "board", *quantize),
        ("bench", classifier, "-t", "cortex-m4", *quantize),
        ("opt", classifier),
        ("prune", classifier, "--ratio", "0.1"),
    ):
        told = shell(*command, *test)
        for text in ("before", "after", "80.00%", "same class", "signal to noise"):
            assert text in told, command


def test_a_metric_of_ones_own(shell: Shell, classifier: Path, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def third(outputs, labels):\n    return labels == 3\n\ndef broken(outputs, labels):\n    return 1 / 0\n"
    )
    given = "--data", data / "test.npz", "--labels", "y"
    wanted = float((np.load(data / "labels.npy") == 3).mean())
    assert score(shell, classifier, *given, "--metric", f"{file}:third") == (wanted, 40)
    for name, told in (
        ("broken", "metric broken: it failed with ZeroDivisionError: division by zero"),
        ("nothing", "defines no function 'nothing'"),
    ):
        assert told in shell("evaluate", classifier, *given, "--metric", f"{file}:{name}", status=2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--data", "test.npz", "--labels", "z"), "--labels z: no array is called so in"),
        (("--data", "none.npz", "--labels", "y"), "there is no such file"),
        (("--data", "test.npz[90:]", "--labels", "y"), "there are no such rows"),
        (("--data", "test.npz[:8]", "--labels", "labels.npy"), "labels of the shape [40] for 8 samples"),
        (("--data", "test.npz", "--labels", "raw.npz"), "it is not clear which array is meant"),
        (("--data", "test.npz"), "there is nothing to compare with"),
        (("--data", "test.npz", "--labels", "y", "--scale", "1/0"), "is no number"),
        (("--data", "test.npz", "--labels", "y", "--layout", "hwcn"), "is none of nchw, nhwc"),
        (
            ("--data", "raw.npz", "--labels", "other", "--key", "images"),
            "float32[N, 3, 6, 6] needed",
        ),
        (("--data", "test.npz", "--labels", "y", "--metric", "beauty"), "no metric is called 'beauty'"),
    ],
)
def test_errors(
    shell: Shell, classifier: Path, data: Path, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    assert told in shell("evaluate", classifier, *words, status=2)
