"""An interrupted run goes on to the weights that it would have had, bit by bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from small import DATA, X, Y, accuracy, cross_entropy, same, small_net
from torch.utils.data import DataLoader, TensorDataset

from graphopt.errors import InvalidInput
from graphopt.passes import PruneWeights
from graphopt.training import Gradual, TrainedGraph, distill, fine_tune, prune_while_training
from graphopt.training.checkpoint import FILE

LOADER = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), 32, shuffle=True)


class Unsized:
    """Two batches, which do not say how many they are."""

    def __iter__(self) -> Any:
        return iter([(X[:50], Y[:50]), (X[50:], Y[50:])])


RUNS: list[dict[str, Any]] = [
    {},
    {"optimizer": {"name": "SGD", "lr": 0.01, "momentum": 0.9}, "schedule": {"name": "StepLR", "step_size": 1}},
    {"schedule": {"name": "ReduceLROnPlateau", "patience": 0}, "evaluate": accuracy},
    {"data": LOADER, "optimizer": "nadam"},
    {"data": Unsized(), "schedule": "linear"},
]


class Interrupted(Exception):
    pass


def run(folder: Path | None, options: dict[str, Any], interrupt: int | None = None) -> TrainedGraph:
    """Four epochs, the process being interrupted at a call of the loss."""
    calls = itertools.count()

    def loss(outputs: Any, batch: Any) -> Any:
        if next(calls) == interrupt:
            raise Interrupted
        return cross_entropy(outputs, batch)

    return fine_tune(small_net(), loss=loss, epochs=4, checkpoint=folder, **{"data": DATA, **options})


@pytest.mark.parametrize("options", RUNS, ids=["default", "sgd", "plateau", "loader", "unsized"])
def test_the_same_weights_as_without_a_break(options: dict[str, Any], tmp_path: Path) -> None:
    whole = run(None, options)
    with pytest.raises(Interrupted):
        run(tmp_path, options, interrupt=8)
    assert (tmp_path / FILE).exists()
    resumed = run(tmp_path, options)
    assert same(whole, resumed)
    assert whole.history == resumed.history


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = fine_tune(small_net(), DATA, cross_entropy, epochs=2, checkpoint=tmp_path)

    def loss(outputs: Any, batch: Any) -> Any:
        raise AssertionError

    assert same(first, fine_tune(small_net(), DATA, loss, epochs=2, checkpoint=tmp_path))


def test_a_checkpoint_is_of_one_run(tmp_path: Path) -> None:
    fine_tune(small_net(), DATA, cross_entropy, epochs=1, checkpoint=tmp_path)
    for other, message in [
        ({"seed": 1}, "seed was '0' and is '1'"),
        ({"epochs": 2}, "epochs was '1' and is '2'"),
        ({"optimizer": "AdamW"}, "optimizer was 'adam'"),
        ({"graph": small_net(seed=1)}, "module was"),
    ]:
        with pytest.raises(InvalidInput, match=f"it is of another run: {message}"):
            given = {"graph": small_net(), "epochs": 1, **other}
            fine_tune(data=DATA, loss=cross_entropy, checkpoint=tmp_path, **given)


def test_what_a_loss_and_masks_are_told_must_be_the_same(tmp_path: Path) -> None:
    distill(small_net(), small_net(seed=1), X, temperature=4.0, epochs=1, checkpoint=tmp_path / "a")
    with pytest.raises(InvalidInput, match=r"of another run: loss was .*temperature=4\.0.* and is .*temperature=2\.0"):
        distill(small_net(), small_net(seed=1), X, temperature=2.0, epochs=1, checkpoint=tmp_path / "a")
    for sparsity in (0.5, 0.7):
        how, options = Gradual(PruneWeights(sparsity=sparsity)), {"epochs": 1, "checkpoint": tmp_path / "b"}
        if sparsity == 0.5:
            prune_while_training(small_net(), how, DATA, cross_entropy, **options)
            continue
        with pytest.raises(InvalidInput, match=r"of another run: companions was .*sparsity=0\.5"):
            prune_while_training(small_net(), how, DATA, cross_entropy, **options)


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "pickle": lambda data: b"\x80\x04K\x01.",
    "other": lambda data: data.replace(b"graphopt-t", b"graphopt-u"),
    "edited": lambda data: data.replace(b"history", b"mystery"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=[*DAMAGE])
def test_a_damaged_checkpoint_is_refused(damage: Any, tmp_path: Path) -> None:
    fine_tune(small_net(), DATA, cross_entropy, epochs=1, checkpoint=tmp_path)
    file = tmp_path / FILE
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InvalidInput, match=r"is no checkpoint|does not fit this run"):
        fine_tune(small_net(), DATA, cross_entropy, epochs=1, checkpoint=tmp_path)


def test_a_checkpoint_is_tensors_and_json(tmp_path: Path) -> None:
    fine_tune(small_net(), DATA, cross_entropy, epochs=1, checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    with safe_open(tmp_path / FILE, "pt") as file:
        assert file.metadata()["format"] == "graphopt-training"


def test_a_state_that_is_not_plain_is_refused(tmp_path: Path) -> None:
    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        made = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        made.own = object()
        return made

    with pytest.raises(InvalidInput, match="object is no number, text or tensor"):
        fine_tune(small_net(), DATA, cross_entropy, epochs=1, schedule=schedule, checkpoint=tmp_path)
