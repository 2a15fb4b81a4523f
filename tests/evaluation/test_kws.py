"""Keyword spotting: what is known of it, by the graph, the program, and the program on its board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlperf import data, graphs, path_of, quantized

import graphopt
from graphopt.evaluation.samples import chosen_places
from graphopt.ir import Array
from graphopt.progress import listening
from graphopt.targets.target import host_name


@pytest.fixture(scope="module")
def kws(shared: Path) -> dict[str, Array]:
    """The samples that do not calibrate."""
    return {name: array[100:] for name, array in data(shared, "kws.npz").items()}


def test_a_file_has_the_accuracy_that_is_known(shared: Path, kws: dict[str, Array]) -> None:
    found = graphopt.evaluate(path_of(shared, "kws"), kws["x"], kws["y"], metric="top1")
    assert found.score is not None
    assert found.score.value == pytest.approx(0.91)
    assert (found.score.count, found.samples, found.available) == (900, 900, 900)
    assert found.score.interval == "Wilson"
    assert found.confusion is not None
    matrix = np.array(found.confusion.matrix)
    assert matrix.trace() == 819
    assert np.array_equal(matrix.sum(1), np.bincount(kws["y"]))
    assert found.engine == "reference evaluator"


def test_int8_as_graph_and_as_program_against_the_float_file(shared: Path, kws: dict[str, Array]) -> None:
    graph = quantized(shared, "kws")
    compiled = graphopt.compile(graph, "host")
    results = [graphopt.evaluate(m, kws["x"], kws["y"], against=graphs(shared, "kws")[0]) for m in (graph, compiled)]
    for found in results:
        assert found.score is not None
        assert found.score.value == pytest.approx(0.9067, abs=5e-5)
        assert found.against is not None
        assert found.against.score is not None
        assert found.against.score.value == pytest.approx(0.91)
        assert found.against.same_class is not None
        assert found.against.same_class.value > 0.98
        assert found.against.sqnr > 28
    assert results[0].worst == results[1].worst
    assert results[0].confusion == results[1].confusion
    assert results[1].engine.endswith(" program")


def test_on_its_board_some_samples_spread_evenly(shared: Path, kws: dict[str, Array]) -> None:
    graph = quantized(shared, "kws")
    seen: list[tuple[str, int, int | None]] = []
    with listening(lambda *step: seen.append(step)):
        found = graphopt.evaluate(graph, kws["x"], kws["y"], target="cortex-m4", samples=5)
    places = chosen_places(900, 5)
    assert np.array_equal(places // 180, np.arange(5))
    right = graph(kws["x"][places])[0].argmax(1) == kws["y"][places]
    assert found.score is not None
    assert found.score.value == right.mean()
    assert (found.engine, found.samples, found.available) == ("QEMU cortex-m4", 5, 900)
    assert seen == [("sample", 0, 5)]


def test_a_large_job_is_compiled_for_this_machine(
    shared: Path, kws: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphopt.evaluation.engines.WORK", 0)
    found = graphopt.evaluate(graphs(shared, "kws")[1], kws["x"][:40], kws["y"][:40])
    assert found.engine == f"{host_name()} program"
