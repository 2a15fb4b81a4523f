"""The band of a loss: relative to where it began, and near zero to what it is without weights."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from small import DATA, same, small_net

from graphopt.exporters import to_torch
from graphopt.ir import Graph
from graphopt.training import fine_tune
from graphopt.training.band import Band


def never() -> float:
    raise AssertionError("asked for too early")


def test_a_loss_in_the_band_asks_for_nothing() -> None:
    band = Band([1.0, 1.0])
    assert band.left_by(10.9, never) is None
    assert band.left_by(0.1, never) is None


def test_a_loss_above_ten_times_where_it_began_has_left() -> None:
    assert "from 1 to 11.1 (the limit is 11)" in (Band([1.0]).left_by(11.1, lambda: 2.0) or "")


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e6])
def test_near_zero_the_band_is_a_tenth_of_the_scale(size: float) -> None:
    """In any unit of the loss."""
    band = Band([1e-9 * size])
    assert band.left_by(0.19 * size, lambda: 2.0 * size) is None
    assert band.left_by(0.3 * size, never) is not None


def test_a_run_that_begins_at_zero_has_a_band() -> None:
    band = Band([0.0, 0.0])
    assert band.left_by(0.0, never) is None
    assert band.left_by(1e-3, lambda: 1.0) is None
    assert band.left_by(1.0, never) is not None


@pytest.mark.parametrize("scale", [math.nan, math.inf, 0.0])
def test_without_a_scale_the_start_alone_counts(scale: float) -> None:
    assert "the limit is 0.11" in (Band([0.01]).left_by(0.2, lambda: scale) or "")


def test_what_is_not_finite_has_left() -> None:
    assert Band([0.0]).left_by(math.nan, never) is not None


def taught() -> tuple[Graph, dict[str, np.ndarray]]:
    """A net, and data whose targets are its own outputs but for a little noise."""
    graph = small_net(norm=False)
    (outputs,) = to_torch(graph).evaluate({"x": DATA["x"]})
    noise = np.random.default_rng(0).normal(0, 1e-4, outputs.shape).astype("float32")
    return graph, {"x": DATA["x"], "target": outputs + noise}


def squared(outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return ((outputs - batch["target"]) ** 2).mean()


def test_a_perfect_net_is_trained_on() -> None:
    graph, data = taught()
    trained = fine_tune(graph, data, squared, epochs=2)
    assert trained.history.epochs[0].loss < 1e-7
    assert trained.history.stopped is None


def test_a_perfect_net_that_is_spoilt_is_kept() -> None:
    graph, data = taught()
    with pytest.warns(UserWarning, match="the state after epoch 0 is kept"):
        astray = fine_tune(graph, data, squared, epochs=2, optimizer={"name": "adam", "lr": 0.3})
    assert astray.history.stopped is not None


def test_asking_for_the_scale_leaves_weights_and_random_numbers_alone() -> None:
    """One run asks for it, the other, of a loss that is greater by one, does not: the same weights come out."""
    graph, data = taught()
    calls = [0, 0]

    def noisy(outputs: torch.Tensor, batch: dict[str, torch.Tensor], more: int) -> torch.Tensor:
        calls[more] += 1
        return squared(outputs + 1e-3 * torch.rand(()), batch) + more

    first, second = (fine_tune(graph, data, partial(noisy, more=more), epochs=2) for more in (0, 1))
    assert first.history.stopped is second.history.stopped is None
    assert same(first, second)
    assert calls[0] == calls[1] + 1
