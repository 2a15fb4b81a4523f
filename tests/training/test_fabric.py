"""Two processes by Lightning Fabric: they agree, and learn as one does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small import DATA, cross_entropy, small_net, weights

from graphopt.exporters import save
from graphopt.frontends import load
from graphopt.training import fine_tune

SCRIPT = """
import sys
import numpy as np
import torch.nn.functional as F
from lightning_fabric import Fabric
from graphopt import load
from graphopt.exporters import save
from graphopt.passes import PruneWeights
from graphopt.training import Regrow, distill, fine_tune, prune_while_training

folder, devices = sys.argv[1], int(sys.argv[2])
fabric = Fabric(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto")
fabric.launch()
data = dict(np.load(f"{folder}/data.npz"))
graph = fine_tune(
    load(f"{folder}/net.gopt"), data, lambda y, batch: F.cross_entropy(y, batch["label"]),
    epochs=2, batch_size=48 // devices, optimizer={"name": "SGD", "lr": 0.1}, fabric=fabric,
    checkpoint=f"{folder}/run{devices}", frozen_norms=True, evaluate=lambda g: float(devices),
)
assert [e.metric for e in graph.history.epochs] == [devices] * 3
print(graph.history.epochs[-1].loss)
save(graph, f"{folder}/{devices}-{fabric.global_rank}.gopt")
options = {"epochs": 2, "batch_size": 48 // devices, "optimizer": {"name": "SGD", "lr": 0.01}, "fabric": fabric}
student = distill(
    graph, load(f"{folder}/student.gopt"), data, features={"features": "features", "relu": "relu"},
    frozen_norms=True, **options,
)
sparse = prune_while_training(
    load(f"{folder}/net.gopt"), Regrow(PruneWeights(sparsity=0.5)), data,
    lambda y, batch: F.cross_entropy(y, batch["label"]), frozen_norms=True, **options,
)
save(student, f"{folder}/student-{devices}-{fabric.global_rank}.gopt")
save(sparse, f"{folder}/sparse-{devices}-{fabric.global_rank}.gopt")
"""


def script(folder: Path, code: str, *arguments: str) -> str:
    """What a script prints that Fabric may start again in other processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    (folder / "script.py").write_text(code)
    command = [sys.executable, str(folder / "script.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


RECIPE = """
model = "net.gopt"
output = "trained.gopt"
fabric = {accelerator = "cpu", devices = DEVICES, strategy = "STRATEGY"}

[data]
file = "data.npz"
labels = "label"

[[steps]]
do = "fine-tune"
epochs = 2
batch_size = SIZE
optimizer = {name = "SGD", lr = 0.1}
frozen_norms = true
"""


@pytest.mark.slow
def test_a_recipe_is_launched(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    save(small_net(), tmp_path / "net.gopt")
    np.savez(tmp_path / "data.npz", **DATA)
    trained = []
    for devices, strategy in ((1, "auto"), (2, "ddp")):
        text = RECIPE.replace("DEVICES", str(devices)).replace("STRATEGY", strategy)
        (tmp_path / "recipe.toml").write_text(text.replace("SIZE", str(48 // devices)))
        told = script(tmp_path, "from graphopt.cli import main; main()", "train", str(tmp_path / "recipe.toml"))
        assert told.count("fine-tune") == 1
        trained.append(weights(load(tmp_path / "trained.gopt")))
    for name, array in trained[0].items():
        np.testing.assert_allclose(array, trained[1][name], atol=1e-5)


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    """SGD on batches of 24 in each of two is SGD on batches of 48 in one: gradients are averaged."""
    pytest.importorskip("lightning_fabric")
    save(small_net(), tmp_path / "net.gopt")
    save(small_net(channels=4, seed=1), tmp_path / "student.gopt")
    np.savez(tmp_path / "data.npz", **DATA)
    script(tmp_path, SCRIPT, str(tmp_path), "1")
    script(tmp_path, SCRIPT, str(tmp_path), "2")
    for what in ("", "student-", "sparse-"):
        one, first, second = (load(tmp_path / f"{what}{which}.gopt") for which in ("1-0", "2-0", "2-1"))
        for name, array in weights(first).items():
            np.testing.assert_array_equal(array, weights(second)[name])
            if what != "student-":  # values are compared as parts of the mean square of a batch, not by samples
                np.testing.assert_allclose(array, weights(one)[name], atol=1e-5)


def test_half_precision_learns_as_full_precision_does() -> None:
    """Fabric narrows what a module is called with; a graph takes its inputs in the dtype that it declares."""
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    narrow, full = (fine_tune(small_net(), DATA, cross_entropy, epochs=2, fabric=f) for f in (fabric, None))
    assert 0 < np.abs(weights(narrow)["stem.weight"] - weights(full)["stem.weight"]).max() < 0.01
    assert narrow.history.epochs[-1].loss == pytest.approx(full.history.epochs[-1].loss, rel=0.02)
