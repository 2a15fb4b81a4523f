"""The cyclic collector while passes run: rarer, and behind them as it was."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from graphopt.errors import InvalidGraph
from graphopt.ir import Graph, arg
from graphopt.passes import Context, Exact, Pass
from graphopt.passes.collector import OBJECTS, RARE_COLLECTIONS

X = arg("x", "float32", (2,))
GRAPH = Graph((X,), (X,))


class Looking(Pass, name="looking", contract=Exact()):
    """Keeps the thresholds that it sees."""

    fail: bool = False

    def run(self, graph: Graph, context: Context) -> Graph:
        SEEN.append(gc.get_threshold())
        if self.fail:
            raise ValueError("on purpose")
        return Looking(fail=False)(graph, context) if len(SEEN) == 1 else graph


SEEN: list[tuple[int, int, int]] = []


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    known = gc.get_threshold()
    SEEN.clear()
    yield
    gc.set_threshold(*known)


@pytest.mark.parametrize(("before", "within"), [(500, OBJECTS), (10 * OBJECTS, 10 * OBJECTS), (0, 0)])
def test_it_runs_rarely_in_passes_alone(before: int, within: int) -> None:
    gc.set_threshold(before, 7, 8)
    Looking()(GRAPH)
    assert len(SEEN) == 2 and set(SEEN) == {(within, 7, 8)}
    assert gc.get_threshold() == (before, 7, 8)


def test_an_error_leaves_it_as_it_was() -> None:
    gc.set_threshold(500, 7, 8)
    with pytest.raises(InvalidGraph, match="on purpose"):
        Looking(fail=True)(GRAPH)
    assert gc.get_threshold() == (500, 7, 8)


def test_it_stays_off() -> None:
    gc.disable()
    try:
        Looking()(GRAPH)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_threads_that_overlap_leave_it_as_it_was() -> None:
    gc.set_threshold(500, 7, 8)
    entered, may_leave = threading.Event(), threading.Event()

    def other() -> None:
        with RARE_COLLECTIONS:
            entered.set()
            may_leave.wait(10)

    thread = threading.Thread(target=other)
    with RARE_COLLECTIONS:
        thread.start()
        assert entered.wait(10)
    assert gc.get_threshold() == (OBJECTS, 7, 8)
    may_leave.set()
    thread.join()
    assert gc.get_threshold() == (500, 7, 8)
