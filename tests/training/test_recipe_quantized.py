"""The step of a recipe that trains a net for its integers: it says all that the call takes, and does what that does."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from small import CLASSES, DATA, X, cross_entropy, same, small_net

from graphopt import load, save
from graphopt.cli import main
from graphopt.errors import InvalidInput
from graphopt.passes.quantize.layers import packed_weights
from graphopt.training import quantization_aware
from graphopt.training.recipe import read_recipe, run_recipe
from graphopt.training.recipe_steps import QuantizeStep

RECIPE = """
model = "net.gopt"
output = "small.gopt"
checkpoint = "run"

[data]
file = "data.npz"
labels = "label"

[[steps]]
do = "quantization-aware"
epochs = 2
"""
OPTIONS = """
weights = "int4"
activations = "int16"
per_channel = false
overrides = {stem = "int8"}
calibration = "functions.py:seen"
learn_scales = false
teacher = "net.gopt"
temperature = 2.0
alpha = 0.5
outputs = ["logits"]
frozen_norms = true
"""
SEEN = X[:16] * 2
FUNCTIONS = "import numpy as np\n\ndef seen():\n    return [{'x': 2 * np.load('data.npz')['x'][:16]}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save(small_net(), tmp_path / "net.gopt")
    np.savez(tmp_path / "data.npz", **DATA)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str) -> str:
    Path("recipe.toml").write_text(text)
    return "recipe.toml"


def test_a_file_can_say_what_the_call_takes() -> None:
    of_lessons = {"graph", "data", "loss", "evaluate", "context", "options"}
    own = {field.name for field in fields(QuantizeStep)}
    assert inspect.signature(quantization_aware).parameters.keys() - of_lessons <= own


def test_the_step_is_the_call(folder: Path) -> None:
    (plain,) = run_recipe(read_recipe(written(RECIPE)), load("net.gopt"), DATA)
    assert same(plain.graph, quantization_aware(small_net(), DATA, cross_entropy, epochs=2))
    assert packed_weights(plain.graph)
    (done,) = run_recipe(read_recipe(written(RECIPE.replace('"run"', '"other"') + OPTIONS)), load("net.gopt"), DATA)
    by_hand = quantization_aware(
        small_net(),
        DATA,
        cross_entropy,
        weights="int4",
        activations="int16",
        per_channel=False,
        overrides={"stem": "int8"},
        calibration=[{"x": SEEN}],
        learn_scales=False,
        teacher="net.gopt",
        temperature=2.0,
        alpha=0.5,
        outputs=("logits",),
        epochs=2,
        frozen_norms=True,
    )
    assert same(done.graph, by_hand)
    assert not same(done.graph, plain.graph)


def test_a_teacher_needs_no_labels_and_a_loss_does(folder: Path) -> None:
    text = RECIPE.replace('labels = "label"', "")
    with pytest.raises(InvalidInput, match="there is nothing to learn"):
        next(iter(run_recipe(read_recipe(written(text)), load("net.gopt"), {"x": X})))
    (done,) = run_recipe(read_recipe(written(text + 'teacher = "net.gopt"')), load("net.gopt"), {"x": X})
    assert done.graph(X)[0].shape == (len(X), CLASSES)


@pytest.mark.parametrize("change", ['weights = "int5"', 'observer = "middle"', 'calibration = "functions.py:none"'])
def test_what_is_wrong_in_the_step_is_named(folder: Path, change: str) -> None:
    with pytest.raises(InvalidInput, match=r"step 1 \(quantization-aware\): .*" + change.split('"')[1]):
        list(run_recipe(read_recipe(written(RECIPE + change)), load("net.gopt"), DATA))


def test_nothing_is_learned_after_it(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"step 1 \(quantization-aware\) is not the last"):
        read_recipe(written(RECIPE + '[[steps]]\ndo = "fine-tune"'))


def test_the_command_writes_a_graph_on_integers_and_tells_what_stays_float(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["graphopt", "train", written(RECIPE + 'overrides = {head = "float32"}'), "--json"]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    report = json.loads(capsys.readouterr().out)
    assert [len(step["curve"]) for step in report["steps"]] == [0, 3]
    assert "head" in {note["node"] for note in report["steps"][1]["notes"] if note["declined"]}
    assert {name.split(".")[0] for name in packed_weights(load("small.gopt"))} >= {"stem", "next"}
