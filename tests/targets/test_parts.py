"""Concatenations that are written in place, and slices that are read in place: the same bytes, and no copies."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compiling import check_program, in_long_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from tagged import lowered_with_values, run_tagged
from targets.test_overlap import conv, narrowed

import graphopt
from graphopt.ir import Graph, Value, arg
from graphopt.ops import Concat, MaxPool, Relu, Reshape, Slice, Split, SumPool
from graphopt.passes import Fuse
from graphopt.targets import gathering, get_target
from graphopt.targets.lowering import lower
from graphopt.targets.parts import Parts

Draw = Callable[[int, int], int]


def layer(x: Value, draw: Draw) -> Value:
    """A layer with a result of the same height and width, and of a scale of its own."""
    if x.type.rank != 4 or draw(0, 3) == 0:
        return Relu()(x)
    if draw(0, 3) == 0:
        square = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
        return MaxPool(**square)(x) if x.type.dtype != "int8" else narrowed(SumPool(**square)(x))
    kernel = draw(0, 1) * 2 + 1
    return conv(x, draw(1, 9), kernel, 1, (kernel // 2,) * 4, depthwise=draw(0, 3) == 0)


def joined(values: list[Value], draw: Draw) -> Value | None:
    """Some values that fit together, or the same one twice, along any axis."""
    first, axis = values[draw(0, len(values) - 1)], draw(0, 3)
    if axis >= first.type.rank:
        return None

    def others(value: Value) -> tuple[int, ...]:
        shape = value.type.static_shape
        return (*shape[:axis], *shape[axis + 1 :])

    alike = [v for v in values if v.type.rank == first.type.rank and others(v) == others(first)]
    return Concat(axis=axis)(*(alike[draw(0, len(alike) - 1)] for _ in range(draw(1, 3))), first)


def cut(x: Value, draw: Draw) -> tuple[Value, ...]:
    """Parts of a value along any axis."""
    axes = [axis for axis, size in enumerate(x.type.static_shape) if size > 1]
    if not axes:
        return ()
    axis = axes[draw(0, len(axes) - 1)]
    size = x.type.static_shape[axis]
    middle = draw(1, size - 1)
    if draw(0, 1):
        return Split(axis=axis, sizes=(middle, size - middle)).apply(x).results
    return (Slice(axis=axis, start=draw(0, middle - 1), stop=size, step=draw(1, 2))(x),)


def drawn(draw: Draw, steps: int = 9) -> Graph:
    shape = (draw(1, 2), draw(1, 8), draw(2, 5), draw(2, 5))[: draw(2, 4)]
    x = arg("x", "int8" if draw(0, 1) else "float32", shape)
    values = [x, layer(x, draw)]
    for _ in range(steps):
        what, y = draw(0, 4), values[-1 - draw(0, min(2, len(values) - 1))]
        if what < 2:
            values.append(layer(y, draw))
        elif what == 2:
            values += cut(y, draw)
        elif what == 3 and draw(0, 3) == 0:
            values.append(Reshape(shape=(y.type.static_shape[0], math.prod(y.type.static_shape[1:])))(y))
        elif (made := joined(values, draw)) is not None and made.type.static_shape[0] < 5:
            values.append(made)
    outputs = dict.fromkeys([values[-1], *(values[-1 - draw(0, len(values) - 1)] for _ in range(draw(0, 2)))])
    graph = Graph((x,), tuple(outputs))
    return Fuse()(graph) if draw(0, 1) else graph


def without_parts(graph: Graph, target: str, monkeypatch: pytest.MonkeyPatch) -> graphopt.Program:
    """A program that copies."""
    with monkeypatch.context() as patch:
        patch.setattr(gathering, "find_parts", lambda graph, layouts, *_: Parts(layouts))
        return graphopt.compile(graph, target)


def check(graph: Graph, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluator's numbers, and the bytes of a program that copies."""
    check_program(graph, target)
    rng, x = np.random.default_rng(0), graph.inputs[0].type
    whole = x.dtype == "int8"
    data = rng.integers(-128, 128, x.static_shape) if whole else rng.uniform(-2, 2, x.static_shape)
    programs = graphopt.compile(graph, target), without_parts(graph, target, monkeypatch)
    for a, b in zip(*(program.run(data.astype(x.dtype)) for program in programs), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=10)
@given(data=st.data())
def test_drawn_on_the_host(data: st.DataObject) -> None:
    graph = drawn(lambda low, high: data.draw(st.integers(low, high)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        check(graph, "host", monkeypatch)


@settings(max_examples=12)
@given(data=st.data())
def test_drawn_plans(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = drawn(lambda low, high: data.draw(st.integers(low, high)))
    assert run_tagged(graph, get_target("cortex-m4"), tmp_path_factory.mktemp("tagged")) == ""


@pytest.mark.parametrize("target", ["cortex-m4", *in_long_runs("aarch64", "armv7", "cortex-m0", "cortex-m55")])
@settings(max_examples=4)
@given(data=st.data())
def test_drawn_on_others(target: str, data: st.DataObject) -> None:
    check_program(drawn(lambda low, high: data.draw(st.integers(low, high))), target)


def kernels(graph: Graph, target: str = "x86-64-v3") -> list[str]:
    """Those of a program that copy."""
    lowered = lowered_with_values(graph, get_target(target))[1]
    return [call.text for call in lowered.calls if call.text in ("concat", "slice", "identity")]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("target", ["x86-64-v3", "aarch64", "cortex-m4", "cortex-m55", "cortex-m0"])
def test_nothing_is_copied(target: str, dtype: str) -> None:
    """Half of a value goes on by itself, and is joined with all of it."""
    x = arg("x", dtype, (1, 4, 6, 6))
    y = conv(x, 24, 3, 1, (1,) * 4, False)
    low, high = Split(axis=1, sizes=(12, 12)).apply(y).results
    whole = Concat(axis=1)(low, high, conv(high, 12, 1, 1, (0,) * 4, False))
    graph = Fuse()(Graph((x,), (conv(whole, 4, 1, 1, (0,) * 4, False),)))
    assert not kernels(graph, target)


def test_rows_of_windows_are_expanded_from_a_part(tmp_path: Path) -> None:
    """Column by column."""
    x = arg("x", "int8", (1, 4, 6, 6))
    y = conv(x, 32, 1, 1, (0,) * 4, False)
    low, high = Split(axis=1, sizes=(16, 16)).apply(y).results
    last = Concat(axis=1)(conv(low, 8, 1, 1, (0,) * 4, False), conv(high, 8, 3, 1, (1,) * 4, False))
    graph = Fuse()(Graph((x,), (conv(last, 4, 1, 1, (0,) * 4, False),)))
    assert not kernels(graph, "cortex-m4")
    assert run_tagged(graph, get_target("cortex-m4"), tmp_path) == ""
    check_program(graph, "cortex-m4")


def test_concatenations_of_the_same_values_are_parts_of_each_other() -> None:
    """As in a DenseNet, whose layers read all that were before them."""
    x = arg("x", "float32", (1, 4, 6, 6))
    made = [conv(x, 8, 3, 1, (1,) * 4, False)]
    for _ in range(3):
        read = Concat(axis=1)(*made) if len(made) > 1 else made[0]
        made.append(conv(MaxPool(kernel=(3, 3), pads=(1, 1, 1, 1))(read), 8, 1, 1, (0,) * 4, False))
    graph = Fuse()(Graph((x,), (conv(Concat(axis=1)(*made), 4, 1, 1, (0,) * 4, False),)))
    assert not kernels(graph)


def test_what_has_another_place_is_copied_to_the_second() -> None:
    """A value that is joined twice, the input, and an output: each by itself."""
    x = arg("x", "float32", (1, 4, 6, 6))
    y, z = (conv(x, 8, kernel, 1, (kernel // 2,) * 4, False) for kernel in (1, 3))
    joined = Concat(axis=1)(y, z, y, conv(x, 4, 1, 1, (0,) * 4, False), x)
    graph = Fuse()(Graph((x,), (conv(joined, 4, 1, 1, (0,) * 4, False), z)))
    assert kernels(graph) == ["identity"] * 3
    (row, *_) = (row for row in graphopt.compile(graph, "host").manifest["kernels"] if row["operators"] == "identity")
    copied = [why.partition(" is copied: ")[2] for why in row["others"]]
    assert copied == [
        "it is an output",
        "it has its place in a concatenation",
        "it is an input, a constant, or one of several results",
    ]


@pytest.mark.parametrize(("channels", "copied"), [((4, 8), []), ((3, 8), ["identity"]), ((3, 5), ["identity"])])
def test_parts_of_bytes_are_at_whole_words_in_c(channels: tuple[int, int], copied: list[str]) -> None:
    """Routines may read words from where a value begins."""
    x = arg("x", "int8", (1, 4, 6, 6))
    joined = Concat(axis=1)(*(conv(x, count, 3, 1, (1,) * 4, False) for count in channels))
    graph = Fuse()(Graph((x,), (conv(joined, 4, 1, 1, (0,) * 4, False),)))
    assert kernels(graph, "cortex-m4") in (copied, ["concat"])
    assert not kernels(graph)


def test_rows_in_memory_of_their_own_go_by_rows() -> None:
    """A layer that writes into a larger value is none of a stream."""
    x = arg("x", "int8", (1, 1, 6, 6))
    y = conv(conv(x, 8, 3, 1, (1,) * 4, False), 8, 3, 1, (1,) * 4, False)
    graph = Fuse()(Graph((x,), (conv(Concat(axis=1)(y, y), 1, 1, 1, (0,) * 4, False),)))
    lowering = lowered_with_values(graph, get_target("cortex-m4"))[0]
    assert [lowering.layer(node) is not None for node in lowering.computing] == [True, False, False, True]


@pytest.mark.parametrize("target", ["cortex-m4", "host"])
def test_the_smaller_workspace_is_taken(target: str) -> None:
    """What is written early to where it is read late is in the way of what lies between."""
    x = arg("x", "int8", (1, 4, 16, 16))
    early, y = conv(x, 4, 1, 1, (0,) * 4, False), conv(x, 32, 1, 1, (0,) * 4, False)
    late = conv(conv(y, 32, 3, 1, (1,) * 4, False), 4, 1, 1, (0,) * 4, False)
    graph = Fuse()(Graph((x,), (conv(Concat(axis=1)(early, late), 4, 1, 1, (0,) * 4, False),)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        apart = without_parts(graph, target, monkeypatch).manifest["workspace_bytes"]
    assert graphopt.compile(graph, target).manifest["workspace_bytes"] <= apart


@pytest.mark.parametrize("seed", range(12))
def test_no_workspace_is_larger_than_that_of_copies(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    graph, target = drawn(chance.randint, 14), get_target("x86-64-v3")
    size = lower(graph, target).plan.size
    monkeypatch.setattr(gathering, "find_parts", lambda graph, layouts, *_: Parts(layouts))
    assert size <= lower(graph, target).plan.size
