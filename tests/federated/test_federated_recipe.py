"""Learning together from a file, in Python and on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from learning import CLIENTS, LOCAL, X, Y, cross_entropy, net, same

from graphopt import Program, load, save
from graphopt.cli import main
from graphopt.errors import InvalidInput
from graphopt.federated import FedAdam, Quantized, TopK, federate
from graphopt.federated.recipe import plan_of_recipe, read_federated

RECIPE = """
model = "net.gopt"
rounds = 2
output = "learned.gopt"
deploy = "host"
firmware = "firmware"
checkpoint = "run"
least = 3

[data]
clients = ["client-*.npz", "absent.npz"]
held_out = "held.npz"

[local]
batch_size = 8
optimizer = {name = "adam", lr = 0.01}

[update]
bits = 8
fraction = 0.5

[strategy]
name = "fedadam"
rate = 0.02

[compress]
passes = "quantize"
calibration = "held.npz"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(net(), tmp_path / "net.gopt")
    for i, client in enumerate(CLIENTS):
        np.savez(tmp_path / f"client-{i}.npz", **client)
    np.savez(tmp_path / "held.npz", x=X, label=Y)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def shell(*words: str) -> int:
    sys.argv = ["graphopt", *words]
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_the_command_is_the_call(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell("federate", str(folder / "recipe.toml")) == 0
    out, err = capsys.readouterr()
    made = federate(
        net(), CLIENTS, 2, LOCAL, Quantized(8) | TopK(0.5), FedAdam(0.02), evaluate=lambda g: -cross_entropy(g)
    )
    assert same(load(folder / "learned.gopt"), made.model)
    assert Program.load(folder / "firmware").manifest["inputs"][0]["dtype"] == "int8"
    rows = [line.split() for line in out.splitlines()]
    assert rows[-1][:3] == ["all", f"{made.history.up:,}", f"{made.history.down + made.history.down // 4:,}"]
    assert rows[-2][:5] == ["2", f"{made.history.rounds[2].metric:.4g}", "4", "of", "5"]
    assert "round 1: absent was dropped: " in err and "is no .npz file that can be read" in err


def test_it_goes_on_and_is_told_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = folder / "recipe.toml"
    assert shell("federate", str(recipe), "-o", str(folder / "two.onnx"), "--json") == 0
    recipe.write_text(RECIPE.replace("rounds = 2", "rounds = 3"))
    assert shell("federate", str(recipe), "--json") == 0
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(out := capsys.readouterr().out)
    second, _ = decoder.raw_decode(out[end:].lstrip())
    assert second["command"] == "federate" and second["output"].endswith("learned.gopt")
    assert second["rounds"][:3] == first["rounds"] and len(second["rounds"]) == 4
    assert first["output"].endswith("two.onnx") and len(load(folder / "two.onnx").outputs) == 1


WRONG = {
    "no TOML": ("model = ", "is no recipe"),
    "unknown": (RECIPE.replace("rounds = 2", "turns = 2"), "has no turns"),
    "strategy": (RECIPE.replace("fedadam", "fedup"), "is none of fedavg"),
    "option": (RECIPE.replace("rate = 0.02", "speed = 0.02"), r"strategy \(fedadam\) has no speed"),
    "local": (RECIPE.replace("batch_size = 8", 'epochs = "two"'), "local: epochs = 'two' is not int"),
    "no time": ("time_limit = 0\n" + RECIPE, "0 seconds are no time"),
    "bits": (RECIPE.replace("bits = 8", "bits = 9"), "updates of 9 bits"),
    "pattern": (RECIPE.replace("client-*", "patient-*"), "no file fits"),
    "no target": (RECIPE.replace('deploy = "host"', ""), "there is no program"),
    "passes": (RECIPE.replace('"quantize"', '"quantise"'), "quantise"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=[*WRONG])
def test_what_is_wrong_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "recipe.toml").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        plan_of_recipe(read_federated(folder / "recipe.toml"))


def test_the_command_line_says_it_without_a_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "recipe.toml").write_text(RECIPE.replace('"client-*.npz", ', "").replace("least = 3", ""))
    assert shell("federate", str(folder / "recipe.toml")) == 2
    assert "round 1: 0 of 1 clients gave an update that can be used (absent: " in capsys.readouterr().err


def test_what_a_function_raises_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.py").write_text("def rate(graph):\n    return 1 / 0\n")
    (folder / "recipe.toml").write_text(RECIPE.replace('held_out = "held.npz"', 'evaluate = "own.py:rate"'))
    assert shell("federate", str(folder / "recipe.toml")) == 2
    assert "error: evaluate: it failed with ZeroDivisionError" in capsys.readouterr().err


def test_nothing_is_unpickled(folder: Path) -> None:
    np.savez(folder / "client-0.npz", x=np.array([{}]), label=Y, allow_pickle=True)
    made = plan_of_recipe(read_federated(folder / "recipe.toml"))
    with pytest.raises(InvalidInput, match=r"no \.npz file that can be read: Object arrays"):
        made.work.clients[0].own  # noqa: B018
