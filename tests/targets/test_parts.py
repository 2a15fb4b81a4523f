"""Concatenations that are written in place, and slices that are read in place: the same bytes, and no copies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from compiling import check_program, in_long_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from tagged import run_tagged
from targets.test_overlap import conv, narrowed

import graphopt
from graphopt.ir import Graph, Value, arg
from graphopt.ops import Concat, MaxPool, Relu, Reshape, Slice, Split, SumPool
from graphopt.passes import Fuse
from graphopt.targets import gathering, get_target
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


@settings(max_examples=20)
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
