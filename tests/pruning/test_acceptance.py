"""The sixteen nets at ratio 0.5: at least 45 % of what may go goes, and the contract holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import graphopt
from graphopt.ir import Graph
from graphopt.ops.macs import count_macs
from graphopt.passes import Pipeline, PruneChannels
from pruning.acceptance import CASES, Case

ASKED, GOES = 0.5, 0.45


def channels(graph: Graph) -> int:
    """The channels that layers compute, but for those of the outputs."""
    from graphopt.passes.prune import couple

    produced = [p for places in couple(graph).relations.producers.values() for p in places]
    return sum(p.size for p in produced if not any(v is p.value for v in graph.outputs))


@pytest.mark.parametrize("scope", ["global", "local", "isomorphic"])
@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_shrinks_and_is_the_masked_original(case: Case, scope: str) -> None:
    graph = graphopt.trace(case.model(), (case.example,))
    prune = PruneChannels(ratio=ASKED, scope=scope)
    small = Pipeline([prune], check=True)(graph)
    (removal,) = prune.removals(graph)
    groups = removal.coupling.groups
    gone = sum(int(removal.gone[g.units[:, 0]].sum()) for g in groups)
    assert gone >= GOES * sum(map(len, groups)) > 0
    assert channels(small) <= (1 - GOES) * channels(graph)
    assert count_macs(small) <= (1 - GOES) * count_macs(graph)


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_is_the_traced_net_before(case: Case) -> None:
    model = case.model()
    graph = graphopt.trace(model, (case.example,))
    with torch.no_grad():
        wanted = model(case.example).numpy()
    assert np.abs(graph(case.example.numpy())[0] - wanted).max() <= 1e-5 * np.abs(wanted).max()
