"""Pruning while a net is trained, and in steps: how much goes when, what comes back, and what is left."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import DATA, accuracy, cross_entropy, same, small_net, weights

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph
from graphopt.passes import Context, PruneChannels, PruneWeights
from graphopt.training import Gradual, Regrow, Soft, Taylor, TrainedGraph, prune_iteratively, prune_while_training

FAST: dict[str, Any] = {"optimizer": {"name": "adam", "lr": 0.02}, "batch_size": 12}
LAYERS = ("stem.weight", "next.weight", "head.weight")


def zeros(graph: Graph) -> dict[str, Array]:
    return {name: weights(graph)[name] == 0 for name in LAYERS}


def sparsity(graph: Graph) -> float:
    masks = zeros(graph).values()
    return float(sum(m.sum() for m in masks) / sum(m.size for m in masks))


def run(how: Any, epochs: int = 8, **options: Any) -> tuple[TrainedGraph, list[Graph]]:
    """The result, and the graphs that were evaluated on the way."""
    seen: list[Graph] = []

    def evaluate(graph: Graph) -> float:
        seen.append(graph)
        return accuracy(graph)

    given = {"data": DATA, "loss": cross_entropy, "epochs": epochs, **FAST, **options}
    return prune_while_training(small_net(), how, evaluate=evaluate, **given), seen


def test_sparsity_grows_by_a_cubic() -> None:
    trained, seen = run(Gradual(PruneWeights(sparsity=0.8), updates=8, until=1.0))
    wanted = [0.8 * (1 - (1 - k / 8) ** 3) for k in range(9)]
    np.testing.assert_allclose([sparsity(g) for g in seen], wanted, atol=0.01)
    assert trained.history.best == 8  # the only one that is as sparse as was asked for
    assert abs(sparsity(trained) - 0.8) < 0.01
    assert accuracy(trained) > accuracy(small_net())
    for before, after in itertools.pairwise(seen):
        assert all((zeros(after)[name] >= zeros(before)[name]).all() for name in LAYERS)


def test_the_best_of_the_sparse_is_kept() -> None:
    trained, seen = run(Gradual(PruneWeights(sparsity=0.7), until=0.5))
    assert trained.history.kept.metric == max(accuracy(graph) for graph in seen[4:])
    assert abs(sparsity(trained) - 0.7) < 0.01


@pytest.mark.parametrize(
    "how",
    [
        lambda importance: Gradual(PruneWeights(sparsity=0.5, importance=importance), updates=2),
        lambda importance: Regrow(PruneWeights(sparsity=0.5, importance=importance)),
        lambda importance: Soft(PruneChannels(ratio=0.3, importance=importance)),
    ],
    ids=["gradual", "regrow", "soft"],
)
def test_importances_by_gradients_choose_too(how: Any) -> None:
    importance = Taylor(cross_entropy, [DATA])
    trained, _ = run(how(importance), epochs=2)
    assert not same(trained, small_net())


def test_a_threshold_grows_too() -> None:
    trained, _ = run(Gradual(PruneWeights(threshold=0.1)), epochs=4)
    for name in LAYERS:
        left = np.abs(weights(trained)[name][weights(trained)[name] != 0])
        assert (left < 0.1).mean() < 0.2  # they have been trained since
    assert sparsity(trained) > 0.1


def test_what_soft_pruning_removes_may_come_back() -> None:
    trained, seen = run(Soft(PruneWeights(sparsity=0.6)))
    assert all(abs(sparsity(graph) - 0.6) < 0.01 for graph in [*seen[1:], trained])
    back = [zeros(a)[name] & ~zeros(b)[name] for a, b in itertools.pairwise(seen[1:]) for name in LAYERS]
    assert any(mask.any() for mask in back)
    assert trained.history.best > 0


def test_soft_pruning_of_channels_ends_without_them() -> None:
    pruning = PruneChannels(ratio=0.5, scope="local")
    trained, seen = run(Soft(pruning))
    shapes = {name: array.shape for name, array in weights(pruning(small_net())).items()}
    assert {name: array.shape for name, array in weights(trained).items()} == shapes
    assert all({name: array.shape for name, array in weights(graph).items()} == shapes for graph in seen)
    assert trained.history.kept.metric == accuracy(trained)


@pytest.mark.parametrize("by", ["gradient", "random"])
def test_as_many_grow_as_are_dropped(by: str) -> None:
    how = Regrow(PruneWeights(sparsity=0.75), by=by, updates=12)
    trained, seen = run(how)
    counts = {name: int((~how.masks[name]).sum()) for name in LAYERS}
    assert counts == {name: int(0.75 * zeros(trained)[name].size + 0.5) for name in LAYERS}
    assert all(zeros(trained)[name].sum() >= counts[name] for name in LAYERS)
    moved = [zeros(seen[1])[name] & ~zeros(seen[-1])[name] for name in LAYERS]
    assert sum(int(mask.sum()) for mask in moved) > 5
    assert all((zeros(seen[-1])[name] == zeros(seen[-2])[name]).all() for name in LAYERS)  # they settle


def test_growth_by_gradient_is_where_the_loss_asks_for_it() -> None:
    """Of four weights the lesser of two is dropped, and of the two others that of the larger gradient grows."""
    how = Regrow(PruneWeights(sparsity=0.5), fraction=0.9, updates=1, until=0.9)
    weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    weight.grad = torch.tensor([[0.0, 0.0, 0.1, 5.0]])
    how.weight = lambda name: weight  # type: ignore[method-assign]
    turned = how.turned("w", weight != 0, 0.5, np.random.default_rng(0))
    assert turned.tolist() == [[False, True, False, True]]


@pytest.mark.parametrize(
    "how",
    [
        lambda: Gradual(PruneWeights(sparsity=0.7), updates=7),
        lambda: Regrow(PruneWeights(sparsity=0.7)),
        lambda: Soft(PruneWeights(sparsity=0.7)),
    ],
    ids=["gradual", "regrow", "soft"],
)
def test_an_interrupted_run_goes_on_to_the_same_weights(how: Any, tmp_path: Path) -> None:
    whole, _ = run(how(), epochs=4)
    calls = iter(range(100))

    def loss(outputs: Any, batch: Any) -> Any:
        if next(calls) == 28:
            raise KeyboardInterrupt
        return cross_entropy(outputs, batch)

    with pytest.raises(KeyboardInterrupt):
        run(how(), epochs=4, checkpoint=tmp_path, loss=loss)
    resumed, _ = run(how(), epochs=4, checkpoint=tmp_path)
    assert same(whole, resumed)
    assert whole.history == resumed.history


@pytest.mark.parametrize("pruning", [PruneChannels(ratio=0.5), PruneWeights(sparsity=0.8)], ids=["channels", "weights"])
def test_in_steps_with_fine_tuning_after_each(pruning: Any, tmp_path: Path) -> None:
    context, options = Context(), {"steps": 3, "epochs_per_step": 2, "evaluate": accuracy, **FAST}
    trained = prune_iteratively(
        small_net(), pruning, DATA, cross_entropy, context=context, checkpoint=tmp_path, **options
    )
    assert [e.stage for e in trained.history.epochs] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [e.number for e in trained.history.epochs] == list(range(9))
    assert trained.history.kept.metric == accuracy(trained)
    assert trained.history.kept.stage == 2
    assert context.notes
    if isinstance(pruning, PruneWeights):
        assert abs(sparsity(trained) - 0.8) < 0.01
    else:
        assert len(weights(trained)["stem.bias"]) + len(weights(trained)["next.bias"]) == 7
    assert {path.name for path in tmp_path.iterdir()} == {"step-1", "step-2", "step-3"}
    again = prune_iteratively(small_net(), pruning, DATA, None, checkpoint=tmp_path, **options)
    assert same(trained, again)


REFUSED = [
    (lambda: Gradual(PruneWeights(), updates=0), "0 updates"),
    (lambda: Gradual(PruneWeights(), until=0), "until 0"),
    (lambda: Regrow(PruneWeights(), by="magic"), "growing by 'magic'"),
    (lambda: Gradual(PruneWeights(steps=2)), "the run has its own steps"),
    (lambda: Regrow(PruneWeights(pattern="2:4")), "only single weights grow again"),
    (lambda: Soft(PruneChannels(ratio=0.5, steps=2)), "the run has its own steps"),
    (lambda: prune_iteratively(small_net(), PruneWeights(steps=2), DATA, None), "the pass has steps"),
    (lambda: prune_iteratively(small_net(), PruneWeights(), DATA, None, epochs=2), "it is said by epochs_per_step"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_does_not_do_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
