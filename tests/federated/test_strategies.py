"""Strategies against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from learning import CLIENTS, LOCAL, cross_entropy, net, same
from scipy import stats

from graphopt.errors import InvalidInput
from graphopt.federated import FedAdam, FedAvg, FedProx, Median, Privacy, TrimmedMean, federate
from graphopt.federated.wire import Update
from graphopt.ir import Array

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((5, 7)).astype("float32")
SAMPLES = [3, 1, 4, 1, 5]
KNOWN = RNG.random((5, 7)) < 0.6
KNOWN[:, 0], KNOWN[:, 1] = False, True


def updates(known: bool = False, values: Array = VALUES) -> list[Update]:
    return [Update(1, n, v, k if known else None) for n, v, k in zip(SAMPLES, values, KNOWN, strict=True)]


def test_fed_avg_is_the_mean_by_samples_of_those_who_know() -> None:
    assert np.allclose(FedAvg().change(updates()), np.average(VALUES, axis=0, weights=SAMPLES))
    found = FedAvg().change(updates(known=True))
    assert found[0] == 0
    for i in range(1, 7):
        weights = np.where(KNOWN[:, i], SAMPLES, 0)
        assert np.isclose(found[i], np.average(VALUES[:, i], weights=weights))


def test_a_trimmed_mean_is_scipys() -> None:
    found = TrimmedMean(0.2).change(updates())
    assert np.allclose(found, stats.trim_mean(VALUES.astype(float), 0.2, axis=0))


def test_the_median_is_numpys() -> None:
    assert np.allclose(Median().change(updates()), np.median(VALUES, axis=0))
    assert np.allclose(Median().change(updates()[:4]), np.median(VALUES[:4].astype(float), axis=0))
    masked = np.where(KNOWN, VALUES, np.nan)[:, 1:]
    assert np.allclose(Median().change(updates(known=True))[1:], np.nanmedian(masked.astype(float), axis=0))


@pytest.mark.parametrize("strategy", [Median(), TrimmedMean(0.2)])
def test_one_bad_client_does_not_matter(strategy: Median) -> None:
    bad = VALUES.copy()
    bad[2] = 1e30
    found = strategy.change(updates(values=bad))
    assert (found <= np.delete(VALUES, 2, 0).max(0)).all()
    assert (FedAvg().change(updates(values=bad)) > 1e28).all()


def test_fed_adam_is_algorithm_2() -> None:
    strategy, state = FedAdam(rate=0.1, beta1=0.9, beta2=0.99, tau=0.01), {}
    first, second = np.zeros(7), np.full(7, 0.01**2)
    for change in VALUES.astype(float):
        step, state = strategy.step(change, state)
        first = 0.9 * first + 0.1 * change
        second = 0.99 * second + 0.01 * change**2
        assert np.allclose(step, 0.1 * first / (np.sqrt(second) + 0.01))


@pytest.mark.parametrize("make", [lambda: FedProx(0), lambda: FedAdam(tau=0), lambda: TrimmedMean(0.5)])
def test_numbers_out_of_range_are_refused(make: type) -> None:
    with pytest.raises(InvalidInput):
        make()


def test_noise_is_added_to_the_sum_of_clipped_updates() -> None:
    privacy = Privacy(clip=1.0, noise=0.5, seed=3)
    short = VALUES / np.linalg.norm(VALUES, axis=1, keepdims=True)
    plain = (short * np.minimum(np.linalg.norm(VALUES, axis=1, keepdims=True), 1)).sum(0) / 5
    found = privacy.change(updates(), 7, 5, 1)
    noise = np.random.default_rng([3, 1]).normal(0, 0.5, 7) / 5
    assert np.allclose(found, plain + noise, atol=1e-6)
    assert not np.allclose(found, privacy.change(updates(), 7, 5, 2))
    drawn = np.stack([Privacy(1.0, 0.5).change([], 7, 1, 1) for _ in range(200)])
    assert abs(drawn.std() - 0.5) < 0.05


def test_epsilon_is_that_of_the_gaussian_mechanism() -> None:
    pytest.importorskip("opacus", reason="pip install 'graphopt[federated]'")
    privacy, rounds = Privacy(clip=1.0, noise=4.0, delta=1e-5), 10
    orders = np.linspace(1.01, 200, 20000)  # Mironov (2017), and the conversion of Balle et al. (2020)
    renyi = rounds * orders / (2 * 4.0**2)
    wanted = (renyi + np.log1p(-1 / orders) - np.log(1e-5 * orders) / (orders - 1)).min()
    assert privacy.epsilon(rounds, 1.0) == pytest.approx(wanted, rel=0.01)
    assert privacy.epsilon(rounds, 0.1) < privacy.epsilon(rounds, 1.0)


def test_a_private_run_tells_its_epsilon_and_still_learns() -> None:
    pytest.importorskip("opacus", reason="pip install 'graphopt[federated]'")
    privacy = Privacy(clip=1.0, noise=0.01, delta=1e-3, seed=0)
    made = federate(net(), CLIENTS, 3, LOCAL, privacy=privacy, fraction=0.75)
    spent = [r.epsilon for r in made.history.rounds]
    assert spent[0] is None and spent[1] < spent[2] < spent[3] == privacy.epsilon(3, 0.75)
    assert same(made.model, federate(net(), CLIENTS, 3, LOCAL, privacy=privacy, fraction=0.75).model)
    assert cross_entropy(made.model) < cross_entropy(net())
    loud = federate(net(), CLIENTS, 1, LOCAL, privacy=Privacy(clip=1.0, noise=100.0, delta=1e-3, seed=0)).model
    assert cross_entropy(loud) > cross_entropy(net())


def test_noise_is_for_means() -> None:
    with pytest.raises(InvalidInput, match="its noise is made for a mean"):
        federate(net(), CLIENTS, 1, LOCAL, strategy=Median(), privacy=Privacy(clip=1.0, noise=1.0))
