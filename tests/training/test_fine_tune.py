"""Fine-tuning: what it learns, keeps, holds to, and says."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from small import DATA, X, Y, accuracy, cross_entropy, same, small_net, weights
from torch.utils.data import DataLoader, TensorDataset

from graphopt import to_torch, with_parameters
from graphopt.errors import InvalidInput
from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import Add, Linear, Softmax
from graphopt.passes import FoldConstants, Pipeline, PruneWeights
from graphopt.progress import listening
from graphopt.training import fine_tune

FAST = {"name": "adam", "lr": 0.02}


def test_a_net_learns_and_the_curve_says_how() -> None:
    graph = small_net()
    trained = fine_tune(graph, DATA, cross_entropy, epochs=12, optimizer=FAST, evaluate=accuracy)
    history = trained.history
    assert accuracy(trained) > max(0.8, accuracy(graph) + 0.2)
    assert [e.number for e in history.epochs] == list(range(13))
    assert history.kept.metric == max(e.metric for e in history.epochs) == accuracy(trained)
    assert history.epochs[0].metric == accuracy(graph)
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.stopped is None
    assert weights(trained).keys() == weights(graph).keys()


def test_a_seed_makes_the_weights() -> None:
    runs = [fine_tune(small_net(), DATA, cross_entropy, epochs=2, seed=seed) for seed in (0, 0, 1)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
    assert runs[0].history == runs[1].history


def test_random_numbers_of_others_are_left_alone() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    wanted = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    fine_tune(small_net(), DATA, cross_entropy, epochs=1)
    assert (torch.rand(1), np.random.rand(), random.random()) == wanted


def test_the_best_state_is_kept_if_it_is_what_training_began_with() -> None:
    graph, given = small_net(), iter([0.9, 0.5, float("nan"), 0.9])
    trained = fine_tune(graph, DATA, cross_entropy, epochs=3, evaluate=lambda g: next(given))
    assert same(trained, graph)
    assert trained.history.best == 0


def test_zeros_of_weights_stay_and_zeros_of_biases_do_not() -> None:
    sparse = Pipeline([PruneWeights(sparsity=0.7), FoldConstants()])(small_net(norm=False))
    before = weights(sparse)
    seen = []
    trained = fine_tune(sparse, DATA, cross_entropy, epochs=2, optimizer=FAST, evaluate=lambda g: seen.append(g) or 0.0)
    for graph in [*seen, trained]:
        for name, array in weights(graph).items():
            if array.ndim > 1:
                assert (array[before[name] == 0] == 0).all()
                assert (before[name] == 0).mean() > 0.6
    last = weights(seen[-1])
    assert last["head.bias"].all()
    assert all((last[name] != before[name]).any() for name in before)


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norms_follow_the_data_unless_frozen(frozen: bool) -> None:
    trained = fine_tune(small_net(), DATA, cross_entropy, epochs=1, frozen_norms=frozen)
    moved = (weights(trained)["norm.mean"] != 0).any()
    assert moved == (not frozen)


def test_frozen_parameters_stay_under_decay_too() -> None:
    graph = small_net()
    decaying = {"name": "AdamW", "lr": 0.02, "weight_decay": 0.5}
    trained = fine_tune(graph, DATA, cross_entropy, epochs=1, optimizer=decaying, frozen=("stem.*", "norm.bias"))
    before, after = weights(graph), weights(trained)
    kept = {name for name in before if np.array_equal(before[name], after[name])}
    assert kept == {"stem.weight", "stem.bias", "norm.bias"} & before.keys()
    assert "stem.weight" in kept
    with pytest.raises(InvalidInput, match="no parameter has a name like 'stme"):
        fine_tune(graph, DATA, cross_entropy, epochs=1, frozen=("stme.*",))
    with pytest.raises(InvalidInput, match="one pattern"):
        fine_tune(graph, DATA, cross_entropy, epochs=1, frozen="stem")


def test_small_weights_before_raw_inputs_survive_the_defaults() -> None:
    """Inputs 100 times as large and a stem as much smaller: the same function, on which Adam at 1e-3 goes astray."""
    graph = fine_tune(small_net(norm=False), DATA, cross_entropy, epochs=12, optimizer=FAST)
    module = to_torch(graph)
    with torch.no_grad():
        module.tensor(("stem.weight",)).mul_(0.002)
    raw, data = with_parameters(graph, module), {"x": X * 500, "label": Y}
    trained = fine_tune(raw, data, cross_entropy, epochs=2)
    losses = [e.loss for e in trained.history.epochs]
    assert trained.history.stopped is None
    assert max(losses) < 1.1 * losses[0]
    with pytest.warns(UserWarning, match="training stopped: the loss went from .* the state after epoch 0 is kept"):
        astray = fine_tune(raw, data, cross_entropy, epochs=2, optimizer={"name": "adam", "lr": 0.1})
    assert same(astray, raw)
    assert "in epoch 1, step" in astray.history.stopped


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    def loss(outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss.calls += 1
        return cross_entropy(outputs, batch) / (0 if loss.calls > 7 else 1)

    loss.calls = 0
    with pytest.warns(UserWarning, match="the state after epoch 1 is kept"):
        trained = fine_tune(small_net(), DATA, loss, epochs=3)
    assert len(trained.history.epochs) == 2
    assert all(np.isfinite(array).all() for array in weights(trained).values())


def test_weights_that_are_not_finite_are_not_kept() -> None:
    """A last step whose gradient overflows: no loss tells of it any more."""

    def loss(outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss.calls += 1
        value = cross_entropy(outputs, batch)
        return value + (outputs.sum() * 0).sqrt() if loss.calls == 9 else value

    loss.calls = 0
    with pytest.warns(UserWarning, match="a weight is not finite after epoch 2; the state after epoch 1 is kept"):
        trained = fine_tune(small_net(), DATA, loss, epochs=2)
    assert all(np.isfinite(array).all() for array in weights(trained).values())


def test_bfloat16_where_the_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and convolutions are of bfloat16, weights stay float32."""
    from graphopt.training import loop
    from graphopt.training.device import OneDevice

    seen = set()

    def loss(outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.add(outputs.dtype)
        return cross_entropy(outputs.float(), batch)

    monkeypatch.setattr(loop, "devices_of", lambda fabric: OneDevice("cpu", bfloat16=True))
    trained = fine_tune(small_net(), DATA, loss, epochs=10, optimizer=FAST)
    assert seen == {torch.bfloat16}
    assert trained.history.epochs[-1].loss < trained.history.epochs[0].loss
    assert {array.dtype for array in weights(trained).values()} == {np.dtype("float32")}


def as_pairs() -> DataLoader:
    return DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), 32)


@pytest.mark.parametrize(
    "data",
    [
        DATA,
        [{"x": X[i : i + 32], "label": Y[i : i + 32]} for i in (0, 32, 64)],
        [(X[:48], Y[:48]), (X[48:], Y[48:])],
        as_pairs(),
    ],
    ids=["arrays", "batches", "tuples", "loader"],
)
def test_data_of_every_form(data: Any) -> None:
    trained = fine_tune(small_net(), data, cross_entropy, epochs=3, optimizer=FAST)
    assert trained.history.epochs[-1].loss < trained.history.epochs[0].loss


def test_a_lone_array_is_the_input() -> None:
    trained = fine_tune(small_net(), X, lambda y, batch: y.square().mean(), epochs=2)
    assert trained.history.epochs[-1].loss < trained.history.epochs[0].loss


OPTIMIZERS: list[Any] = [
    "AdamW",
    "rmsprop",
    {"name": "SGD", "lr": 0.01, "momentum": 0.9},
    {"name": "adam", "relative": 0.001, "weight_decay": 0.01},
    lambda parameters: torch.optim.Adagrad(parameters, lr=0.01),
]
SCHEDULES: list[Any] = [
    "constant",
    "linear",
    {"name": "StepLR", "step_size": 1},
    {"name": "ReduceLROnPlateau", "patience": 0},
    lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
]


@pytest.mark.parametrize(("optimizer", "schedule"), [*zip(OPTIMIZERS, SCHEDULES, strict=True)])
def test_optimizers_and_schedules_of_pytorch(optimizer: Any, schedule: Any) -> None:
    trained = fine_tune(small_net(), DATA, cross_entropy, epochs=2, optimizer=optimizer, schedule=schedule)
    assert trained.history.epochs[-1].loss < trained.history.epochs[0].loss


def test_who_listens_hears_the_loss_the_metric_and_the_time() -> None:
    heard: list[tuple[str, int, int | None]] = []
    with listening(lambda *told: heard.append(told)):
        fine_tune(small_net(), DATA, cross_entropy, epochs=2, evaluate=lambda g: 0.5)
    assert [(done, total) for _, done, total in heard] == [(0, 3), (1, 3), (2, 3)] * 2
    assert heard[0][0] == "epoch 1 of 2, best metric 0.5, step"
    assert heard[-1][0].startswith("epoch 2 of 2, loss ")
    assert heard[-1][0].endswith(" s left, best metric 0.5, step")


def generator() -> Any:
    yield DATA


class Once:
    """What is iterated anew, and is empty after the first time."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = iter(batches)

    def __iter__(self) -> Any:
        return (batch for batch in self.batches)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"data": generator()}, "can be read but once"),
    ({"data": []}, "there is no data"),
    ({"data": Once([DATA])}, "there is no data"),
    ({"batch_size": 0}, "batches of 0"),
    ({"data": [{"y": X}]}, "has no input 'x'"),
    ({"data": {"x": X, "label": Y[:5]}}, "arrays of .* samples"),
    ({"data": [(X, Y, Y)]}, "a batch of 3 arrays without names"),
    ({"epochs": 0}, "0 epochs"),
    ({"seed": -1}, "the seed -1"),
    ({"optimizer": "adamm"}, "no optimizer is called 'adamm'"),
    ({"optimizer": "LBFGS"}, "no optimizer is called 'LBFGS'"),
    ({"optimizer": {"name": "adam", "speed": 1}}, "does not take that"),
    ({"optimizer": {"name": "SGD", "relative": 0.1}}, "relative steps do not go with that"),
    ({"optimizer": {"name": "adam", "relative": "much"}}, "does not take that"),
    ({"optimizer": {"name": "adam", "relative": -1}}, "relative -1.0 is not positive"),
    ({"optimizer": lambda parameters: None}, "gives None"),
    ({"schedule": "slow"}, "no schedule is called 'slow'"),
    ({"schedule": {"name": "StepLR"}}, "StepLR does not take that"),
    ({"schedule": lambda optimizer: None}, "gives None"),
    ({"loss": lambda y, batch: y}, "a scalar tensor is needed"),
    ({"loss": lambda y, batch: torch.zeros(())}, "no parameter has a part in the loss"),
    ({"fabric": object()}, "object is no Fabric"),
    ({"evaluate": "f2"}, "'f2' is no function"),
    ({"optimizer": 3}, "3 is no name"),
    ({"schedule": 3}, "3 is no name"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_does_not_do_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fine_tune(small_net(), **{"data": DATA, "loss": cross_entropy, **given})


def test_a_graph_of_a_fixed_batch_gets_batches_of_its_size() -> None:
    from graphopt import bind_batch

    trained = fine_tune(bind_batch(small_net(), 4), DATA, cross_entropy, epochs=1)
    assert np.isfinite(trained.history.epochs[-1].loss)


def test_infinities_of_masks_are_no_fault() -> None:
    """A mask of infinities, as attention has, is no weight."""
    x = arg("x", "float32", (Batch(), 3))
    y = Linear()(x, constant(np.eye(3, dtype="f"), "w"), constant(np.zeros(3, "f"), "b"))
    y = Softmax(axis=1)(Add()(y, constant(np.array([0, 0, -np.inf], "f"), "mask")))
    data = np.random.default_rng(0).standard_normal((64, 3)).astype("f")
    trained = fine_tune(Graph((x,), (y,)), data, lambda y, batch: y[:, 0].mean(), epochs=2)
    assert trained.history.stopped is None
    assert trained.history.epochs[-1].loss < trained.history.epochs[0].loss
