"""Contract Masked on drawn graphs: every structure that couples channels, random removals, every operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.ir import Array, Graph
from graphopt.passes import Masked, PruneChannels
from graphopt.passes.contract import check_contract, check_masked
from graphopt.passes.prune import Removal, couple
from graphopt.passes.prune.coupling import Coupling, separate_vectors
from graphopt.testing import random_graph
from graphopt.testing.strategies import graphs
from graphopt.testing.structures import draw_prunable

Integers = Callable[[int, int], int]


@st.composite
def prunable(draw: st.DrawFn, max_structures: int = 3) -> Graph:
    return draw_prunable(lambda low, high: draw(st.integers(low, high)), max_structures)


def random_units(coupling: Coupling, rng: np.random.Generator) -> list[Array]:
    """Units of any groups, so many that something is left of every axis."""
    units = [unit for group in coupling.groups for unit in group.units]
    left = np.array([a.size for a in coupling.relations.axes])
    wanted, chosen = rng.integers(1, len(units) + 1) if units else 0, []
    for i in rng.permutation(len(units))[:wanted]:
        touched, counts = np.unique(coupling.axis_of[units[i]], return_counts=True)
        if (left[touched] > counts).all():
            left[touched] -= counts
            chosen.append(units[i])
    return chosen


def check_random_removal(graph: Graph, seed: int) -> int:
    """Remove random units and hold the result to the contract; returns how many went."""
    coupling = couple(separate_vectors(graph))
    units = random_units(coupling, np.random.default_rng(seed))
    if units:
        check_masked(Removal.of(coupling, units), Masked(), f"{len(units)} units")
    return len(units)


@settings(max_examples=120)
@given(graph=prunable(), seed=st.integers(0, 1 << 16))
def test_any_removal_from_structures_is_the_masked_original(graph: Graph, seed: int) -> None:
    check_random_removal(graph, seed)


@settings(max_examples=100)
@given(graph=graphs(), seed=st.integers(0, 1 << 16))
def test_any_removal_from_any_graph_is_the_masked_original(graph: Graph, seed: int) -> None:
    check_random_removal(graph, seed)


@given(
    graph=prunable(), ratio=st.sampled_from([0.1, 0.5, 0.9]), scope=st.sampled_from(["global", "local", "isomorphic"])
)
def test_the_pass_holds_its_contract(graph: Graph, ratio: float, scope: str) -> None:
    prune = PruneChannels(ratio=ratio, scope=scope, importance="random", steps=2)
    check_contract(prune, graph, prune.contract, prune.name)


def test_most_drawn_structures_can_shrink() -> None:
    """Else the tests above would test nothing."""
    rng = np.random.default_rng(0)
    drawn = [draw_prunable(lambda low, high: int(rng.integers(low, high + 1)), 3) for _ in range(100)]
    shrunk = [g for g in drawn if couple(separate_vectors(g)).groups]
    assert len(shrunk) >= 80


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_many_seeds(block: int) -> None:
    for seed in range(500 * block, 500 * (block + 1)):
        rng = np.random.default_rng(seed)
        check_random_removal(draw_prunable(lambda low, high: int(rng.integers(low, high + 1)), 5), seed)  # noqa: B023
        check_random_removal(random_graph(seed, max_ops=12), seed)
