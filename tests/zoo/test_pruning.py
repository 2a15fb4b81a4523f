"""Pruning by half, on every architecture of the zoo: the contract holds, and what can shrink does."""

from __future__ import annotations

import pytest

import graphopt
from graphopt.ops.macs import count_macs
from graphopt.passes import Pipeline, PruneChannels
from zoo.catalogue import ZOO

WHOLE = {"perceptron": "all of its channels are normalised"}
"""What cannot shrink, and why."""

FAST = ("vision_transformer", "gru_tagger")


def check(name: str) -> None:
    entry = ZOO[name]
    graph = graphopt.trace(entry.model(), entry.inputs(2))
    small = Pipeline([PruneChannels(ratio=0.5, scope="local")], check=True)(graph)
    left = count_macs(small) / count_macs(graph)
    assert left == 1 if name in WHOLE else left <= 0.7


@pytest.mark.parametrize("name", FAST)
def test_pruned_by_half(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ZOO if n not in FAST])
def test_pruned_by_half_slow(name: str) -> None:
    check(name)
