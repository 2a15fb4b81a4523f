"""Recipes: steps in order from a file, resumed, reported, and refused where they are wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from small import DATA, Y, same, small_net, weights

from graphopt import load, save
from graphopt.cli import main
from graphopt.errors import InvalidInput, MissingPackage
from graphopt.training import loss_of_labels
from graphopt.training.device import launch
from graphopt.training.recipe import minus_loss, read_recipe, run_recipe

RECIPE = """
model = "net.gopt"
output = "trained.gopt"
checkpoint = "run"

[data]
file = "data.npz"
labels = "label"
held_out = 0.25

[[steps]]
do = "fine-tune"
epochs = 3
optimizer = {name = "adam", lr = 0.02}

[[steps]]
do = "prune"
pruning = "prune-channels{ratio=0.3}"
steps = 2

[[steps]]
do = "prune-while-training"
pruning = "prune-weights{sparsity=0.5}"
how = "soft"
epochs = 2

[[steps]]
do = "distill"
teacher = "net.gopt"
epochs = 2
features = {features = "features"}
schedule = {name = "StepLR", step_size = 1}
"""
STEPS = ["before", "fine-tune", "prune", "prune-while-training", "distill"]

FUNCTIONS = """
import numpy as np
import torch
CALLS = []

def data():
    with np.load("data.npz") as file:
        return [{name: file[name][i : i + 24] for name in file} for i in range(0, 96, 24)]

def loss(outputs, batch):
    CALLS.append(len(batch["label"]))
    return torch.nn.functional.cross_entropy(outputs, batch["label"])

def broken():
    return 1 / 0

def evaluate(graph):
    return float(len(CALLS))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save(small_net(), tmp_path / "net.gopt")
    np.savez(tmp_path / "data.npz", **DATA)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "broken.py").write_text("nothing_of_that_name")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["graphopt", "train", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_recipe_runs_its_steps_and_reports_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "recipe.toml", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["command"] == "train"
    assert [step["name"] for step in report["steps"]] == STEPS
    assert [len(step["curve"]) for step in report["steps"]] == [0, 4, 4, 3, 3]
    assert report["steps"][2]["cost"]["macs"] < report["steps"][1]["cost"]["macs"]
    first = load("trained.gopt")
    (folder / "trained.gopt").unlink()
    assert command(monkeypatch, "recipe.toml") == 0  # from its checkpoints, and the table this time
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trained, in trained.gopt"
    assert [line.split()[0] for line in lines[2:-2]] == STEPS
    assert lines[-1].split()[:2] == ["prune-channels", "head"]  # why it stays
    assert same(first, load("trained.gopt"))


def test_an_interrupted_recipe_goes_on(folder: Path) -> None:
    recipe, samples = read_recipe("recipe.toml"), DATA
    first = next(iter(run_recipe(recipe, load("net.gopt"), samples)))
    assert not (folder / "run" / "2-prune").exists()
    again = [done.graph for done in run_recipe(recipe, load("net.gopt"), samples)]
    assert same(first.graph, again[0])
    assert len(again) == 4


def test_data_loss_and_metric_are_functions(folder: Path) -> None:
    text = 'model = "net.gopt"\n[data]\nfunction = "functions.py:data"\nloss = "functions.py:loss"\n'
    text += 'evaluate = "functions.py:evaluate"\n[[steps]]\ndo = "fine-tune"\nepochs = 2\n'
    (folder / "recipe.toml").write_text(text)
    (done,) = run_recipe(read_recipe("recipe.toml"), load("net.gopt"))
    assert [e.metric for e in done.graph.history.epochs] == [4.0, 8.0, 12.0]
    assert not same(done.graph, small_net())


def test_the_metric_is_of_all_samples_held_out() -> None:
    """33 of them, which are a batch and one."""
    held = {name: array[:33] for name, array in DATA.items()}
    y = small_net()(held["x"])[0].astype("float64")
    wanted = (np.log(np.exp(y).sum(1)) - y[np.arange(33), held["label"]]).mean()
    assert minus_loss(loss_of_labels("label"), held)(small_net()) == pytest.approx(-wanted, rel=1e-5)


def test_what_is_held_out_is_not_learned_from(folder: Path) -> None:
    """With labels of the held out turned, nothing but the metric changes."""
    recipe = read_recipe("recipe.toml")
    one = next(iter(run_recipe(recipe, load("net.gopt"), DATA))).graph
    held = np.random.default_rng(0).permutation(96)[:24]
    turned = Y.copy()
    turned[held] = (turned[held] + 1) % 3
    (folder / "recipe.toml").write_text(RECIPE.replace('"run"', '"other"'))
    other = next(iter(run_recipe(read_recipe("recipe.toml"), load("net.gopt"), {**DATA, "label": turned}))).graph
    losses = [[e.loss for e in graph.history.epochs] for graph in (one, other)]
    assert losses[0] == losses[1]
    assert one.history.epochs[1].metric != other.history.epochs[1].metric


REFUSED = [
    (("fine-tune", "fine-tuna"), "do = 'fine-tuna' is none of"),
    (("epochs = 3", 'epochs = "3"'), r"step 1 \(fine-tune\): epochs = '3' is not int"),
    (("epochs = 3", "epoch = 3"), "has no epoch"),
    (("epochs = 3", "epochs = 0"), r"step 1 \(fine-tune\): epochs: 0 epochs"),
    (('name = "adam"', 'name = "adamm"'), "no optimizer is called 'adamm'"),
    (("prune-channels{ratio=0.3}", "fuse"), "'fuse' is no pass that prunes"),
    (("prune-channels", "prune-chanels"), "prune-chanels"),
    (('"soft"', '"softly"'), "no way to prune is called 'softly'"),
    (('teacher = "net.gopt"', 'teacher = "nobody.gopt"'), "nobody.gopt"),
    (('teacher = "net.gopt"', ""), "teacher"),
    (('file = "data.npz"', ""), "data is of a file or of a function"),
    (("held_out = 0.25", "held_out = 1.0"), "is not in"),
    (("held_out = 0.25", 'evaluate = "functions.py:nothing"'), "cannot be had"),
    (("held_out = 0.25", 'evaluate = "nowhere.py:f"'), "there is no file"),
    (("held_out = 0.25", 'evaluate = "f"'), "names no function"),
    (("held_out = 0.25", 'evaluate = "functions.py:loss"'), r"step 1 \(fine-tune\): it failed with TypeError"),
    (("held_out = 0.25", 'evaluate = "broken.py:f"'), "cannot be had: NameError"),
    (('labels = "label"', ""), "held_out: there is no loss to evaluate"),
    (('file = "data.npz"', 'function = "functions.py:broken"'), "data: it failed with ZeroDivisionError"),
    (("held_out = 0.25", 'loss = "functions.py:CALLS"'), "is no function"),
    (("[data]", "[data"), "is no recipe"),
    (("[[steps]]", "[[stages]]"), "has no stages"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_wrong_in_a_recipe_is_named(folder: Path, change: tuple[str, str], message: str) -> None:
    (folder / "recipe.toml").write_text(RECIPE.replace(*change))
    with pytest.raises(InvalidInput, match=message):
        list(run_recipe(read_recipe("recipe.toml"), load("net.gopt"), DATA))


def test_fabric_is_missed_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingPackage, match=r"pip install 'graphopt\[training\]'"):
        launch({"devices": 2})


def test_without_labels_there_is_nothing_to_learn_but_a_teacher(folder: Path) -> None:
    text = RECIPE.replace('labels = "label"\nheld_out = 0.25', "")
    (folder / "recipe.toml").write_text(text)
    with pytest.raises(InvalidInput, match="there is nothing to learn"):
        next(iter(run_recipe(read_recipe("recipe.toml"), load("net.gopt"), DATA)))
    (folder / "recipe.toml").write_text(text[: text.index("[[steps]]")] + text[text.rindex("[[steps]]") :])
    (done,) = run_recipe(read_recipe("recipe.toml"), load("net.gopt"), {"x": DATA["x"]})
    assert done.name == "distill"
    assert weights(done.graph).keys() == weights(small_net()).keys()
