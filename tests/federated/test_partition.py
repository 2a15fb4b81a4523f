"""Data of one place as that of clients that are not alike."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.errors import InvalidInput
from graphopt.federated import dirichlet

LABELS = np.random.default_rng(0).integers(0, 4, 2000)


def spread(alpha: float) -> float:
    """How far apart clients are in their part of class 0."""
    return float(np.std([(LABELS[part] == 0).mean() for part in dirichlet(LABELS, 6, alpha, least=20)]))


def test_every_sample_goes_to_one_client() -> None:
    parts = dirichlet(LABELS, 6, 0.3, seed=1, least=50)
    assert sorted(np.concatenate(parts)) == list(range(2000))
    assert min(map(len, parts)) >= 50
    assert all(np.array_equal(a, b) for a, b in zip(parts, dirichlet(LABELS, 6, 0.3, seed=1, least=50), strict=True))
    assert not np.array_equal(parts[0], dirichlet(LABELS, 6, 0.3, seed=2, least=50)[0])


def test_a_small_alpha_makes_them_unlike() -> None:
    assert spread(0.3) > 3 * spread(30)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no draw gives each of 6 clients 400 of 2000 samples"):
        dirichlet(LABELS, 6, 0.3, least=400)
    for labels, clients, alpha in ((LABELS / 2, 2, 1.0), (LABELS, 0, 1.0), (LABELS, 2, 0.0)):
        with pytest.raises(InvalidInput, match="are needed"):
            dirichlet(labels, clients, alpha)
