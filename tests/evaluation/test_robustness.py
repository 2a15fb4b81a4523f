"""The metric under disturbances of the inputs."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.nets import echo
from graphopt import evaluate
from graphopt.errors import InvalidInput
from graphopt.evaluation.robustness import DISTURBANCES, OF_IMAGES, changed

X = np.random.default_rng(5).standard_normal((60, 6)).astype("float32")


def test_every_disturbance_is_measured_and_says_by_how_much() -> None:
    found = evaluate(echo(6), X, X, metric="snr", robustness=True)
    assert found.score is not None and found.score.value == np.inf
    decibels = {row.disturbance: row.score.value for row in found.robustness}
    assert list(decibels) == list(DISTURBANCES)
    assert decibels["20 % darker"] == pytest.approx(20 * np.log10(5), abs=0.01)
    assert decibels["20 % brighter"] == pytest.approx(20 * np.log10(5), abs=0.01)
    assert decibels["noise of 5 %"] - decibels["noise of 20 %"] == pytest.approx(20 * np.log10(4), abs=0.01)
    power = np.square(X).mean() / X.var(axis=1).mean()
    assert decibels["noise of 5 %"] == pytest.approx(10 * np.log10(400 * power), abs=0.5)
    assert 45 < decibels["8 bits"] < 65
    assert found.robustness == evaluate(echo(6), X, X, metric="snr", robustness=True).robustness


def test_noise_does_not_depend_on_how_the_data_is_cut() -> None:
    disturb, places = DISTURBANCES["noise of 20 %"], np.arange(60)
    whole = changed(disturb, X, places)
    parts = [changed(disturb, X[i : i + 7], places[i : i + 7]) for i in range(0, 60, 7)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_images_are_blurred_and_nothing_else_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 9, 9)).astype("uint8")
    found = evaluate(echo(2, 9, 9), images, images, metric="mse", robustness=True)
    assert [row.disturbance for row in found.robustness] == [*DISTURBANCES, *OF_IMAGES]
    flat = np.full((1, 2, 9, 9), 7, "uint8")
    for disturb in OF_IMAGES.values():
        assert changed(disturb, flat, np.zeros(1, int)) == pytest.approx(7)
        spot = np.zeros((1, 1, 9, 9))
        spot[0, 0, 4, 4] = 1
        blurred = changed(disturb, spot, np.zeros(1, int))
        assert blurred.max() < 0.2 and np.allclose(blurred, blurred[:, :, ::-1, ::-1])
        assert np.allclose(blurred, np.swapaxes(blurred, 2, 3))


def test_without_labels_there_is_nothing_to_measure() -> None:
    with pytest.raises(InvalidInput, match="robustness: it needs labels"):
        evaluate(echo(6), X, against=echo(6), robustness=True)
