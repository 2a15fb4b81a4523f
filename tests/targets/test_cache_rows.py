"""Layers that go by rows so that caches hold what lies between: the same bytes, in a smaller workspace."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE, in_long_runs
from targets.test_overlap import conv

import graphopt
from graphopt.ir import Graph, Value, arg
from graphopt.ops import Add
from graphopt.passes import Fuse
from graphopt.runtime import Program
from graphopt.targets import cache_rows


def block(x: Value, expanded: int, channels: int, stride: int) -> Value:
    """An inverted residual block."""
    wide = conv(conv(x, expanded, 1, 1, (0,) * 4, False), expanded, 3, stride, (1,) * 4, depthwise=True)
    made = conv(wide, channels, 1, 1, (0,) * 4, False)
    return Add()(x, made) if made.type == x.type else made


def net() -> Graph:
    x = arg("x", "float32", (1, 5, 23, 19))
    y = conv(x, 8, 3, 1, (1,) * 4, False)
    for expanded, channels, stride in ((24, 8, 1), (40, 12, 2), (33, 12, 1)):
        y = block(y, expanded, channels, stride)
    return Fuse()(Graph((x,), (conv(y, 4, 3, 1, (1,) * 4, False),)))


def compiled(graph: Graph, target: str, monkeypatch: pytest.MonkeyPatch, cache: int) -> Program:
    monkeypatch.setattr(cache_rows, "CACHE", cache)
    return graphopt.compile(graph, target)


@pytest.mark.parametrize("target", [NATIVE[-1], *in_long_runs(NATIVE[0], "aarch64", "armv7")])
def test_rows_for_caches(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = net()
    numbers = np.random.default_rng(0).standard_normal((1, 5, 23, 19), np.float32)
    whole, cut = (compiled(graph, target, monkeypatch, cache) for cache in (1 << 20, 1 << 12))
    np.testing.assert_array_equal(whole.run(numbers), cut.run(numbers))
    assert cut.manifest["workspace_bytes"] < whole.manifest["workspace_bytes"]
    assert "streams" not in whole.manifest and cut.manifest["streams"]


def test_what_computes_much_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows over several channels are no light work, and others may be chosen for fewer rows."""
    x = arg("x", "float32", (1, 8, 24, 24))
    graph = Fuse()(Graph((x,), (conv(conv(x, 16, 3, 1, (1,) * 4, False), 16, 3, 1, (1,) * 4, False),)))
    assert "streams" not in compiled(graph, NATIVE[0], monkeypatch, 1 << 12).manifest
