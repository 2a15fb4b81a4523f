"""Pruning on the MLPerf Tiny nets: what dead channels cost VWW, and that every net holds the contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlperf import NETS, graphs, program

from graphopt import compile, optimize
from graphopt.ir import Array, Graph, worst_difference
from graphopt.ops.macs import count_macs
from graphopt.passes import Pipeline, PruneChannels, RemoveDeadChannels


def score(shared: Path, name: str, graph: Graph) -> tuple[float, Array]:
    """Accuracy (or AUC) of the compiled graph, and its outputs."""
    net = NETS[name]
    outputs = compile(optimize(graph), "host", batch=net.batch).run(np.concatenate(list(net.samples(shared))))
    assert isinstance(outputs, np.ndarray)
    return net.score(shared, outputs), outputs


def test_dead_channels_are_half_of_vww(shared: Path) -> None:
    graph = graphs(shared, "vww")[0]
    small = Pipeline([RemoveDeadChannels()], check=True)(graph)
    assert (count_macs(graph), count_macs(small)) == (7_489_664, 3_742_091)
    before = program(shared, "vww", "host").run(np.concatenate(list(NETS["vww"].samples(shared))))
    assert isinstance(before, np.ndarray)
    accuracy, after = score(shared, "vww", small)
    assert worst_difference(after, before) <= 1e-5
    assert accuracy == NETS["vww"].score(shared, before)


@pytest.mark.parametrize("name", ["kws", "resnet8", "ad"])
def test_other_nets_have_no_dead_channels_that_matter(name: str, shared: Path) -> None:
    graph = graphs(shared, name)[0]
    assert count_macs(RemoveDeadChannels()(graph)) >= 0.9 * count_macs(graph)


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("name", NETS)
def test_pruned_nets_are_the_masked_ones(name: str, scope: str, shared: Path) -> None:
    graph = graphs(shared, name)[0]
    small = Pipeline([PruneChannels(ratio=0.5, scope=scope)], check=True)(graph)
    assert count_macs(small) <= 0.6 * count_macs(graph)


def test_a_pruned_net_runs_on_cortex_m4_in_fewer_instructions(shared: Path) -> None:
    graph = graphs(shared, "kws")[0]
    small = PruneChannels(ratio=0.5, scope="local")(graph)
    x = next(NETS["kws"].samples(shared))[:1]
    result = compile(optimize(small), "cortex-m4").measure([x])
    assert worst_difference(result.outputs[0][0], small(x)[0]) <= 1e-4
    before = program(shared, "kws", "cortex-m4").measure([x]).instructions
    assert result.instructions is not None and before is not None
    assert result.instructions <= 0.5 * before
