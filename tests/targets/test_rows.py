"""Streams of rows: the same numbers as planes, whatever the shapes, and each byte is held until it was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from compiling import check_program
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tagged import run_tagged
from targets.test_overlap import Draw, conv, layer, narrowed

import graphopt
from graphopt.errors import BudgetExceeded
from graphopt.ir import Graph, Value, arg, evaluate
from graphopt.ops import Add, Relu, SumPool, WeightedSum
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.gathering import Lowering
from graphopt.targets.rows import Layer, Stream

M4 = get_target("cortex-m4")
HEIGHTS = st.sampled_from([Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(2), Fraction(3)])


def added(x: Value, y: Value) -> Value:
    return narrowed(WeightedSum(factors=(3 << 8, 5 << 8))(x, y)) if x.type.dtype == "int8" else Relu()(Add()(x, y))


def residual(x: Value, draw: Draw) -> Value:
    """Convolutions around which their operand goes, or a convolution of it."""
    channels, stride = x.type.static_shape[1], draw(1, 2)
    kernel = draw(1, 5) | 1
    y = conv(x, channels, kernel, stride, (kernel // 2,) * 4, depthwise=bool(draw(0, 1)))
    y = conv(y, channels, 3, 1, (1,) * 4, depthwise=False)
    return added(y, x if stride == 1 else conv(x, channels, 1, 2, (0,) * 4, depthwise=False))


def drawn_net(draw: Draw, layers: int = 4) -> Graph:
    """Layers over planes and residual blocks, between convolutions of single pixels."""
    x = arg("x", "int8" if draw(0, 2) else "float32", (1, draw(1, 9), draw(6, 15), draw(3, 8)))
    y = conv(x, draw(1, 9), 1, 1, (0,) * 4, depthwise=False)
    for _ in range(layers):
        y = layer(y, draw) if draw(0, 1) else residual(y, draw)
    return Fuse()(Graph((x,), (conv(y, 2, 1, 1, (0,) * 4, depthwise=False),)))


def streams_of(graph: Graph, rows: Fraction) -> Sequence[Stream]:
    """The longest stream of a graph whose first and last layers are whole."""
    lowering = Lowering(graph, M4)
    layers = [one for node in lowering.computing[1:-1] if (one := lowering.layer(node)) is not None]
    layers = layers[: next((i for i, one in enumerate(layers, 1) if one.collects), len(layers))]
    while len(layers) > 1 and not closed(graph, layers):
        layers.pop()
    return [Stream(tuple(layers), rows)] if len(layers) > 1 else []


def closed(graph: Graph, layers: Sequence[Layer]) -> bool:
    """Whether nothing but the layers reads what is between them."""
    inside = {one.region.node for one in layers}
    return all(inside.issuperset(graph.uses[one.result]) for one in layers[:-1])


@settings(max_examples=8)
@given(data=st.data(), rows=HEIGHTS)
def test_drawn_streams(data: st.DataObject, rows: Fraction, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = drawn_net(lambda low, high: data.draw(st.integers(low, high)))
    folder = tmp_path_factory.mktemp("tagged")
    assert run_tagged(graph, M4, folder, streams=lambda g: streams_of(g, rows)) == ""


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data(), rows=HEIGHTS)
def test_many_streams(data: st.DataObject, rows: Fraction, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = drawn_net(lambda low, high: data.draw(st.integers(low, high)), 6)
    folder = tmp_path_factory.mktemp("tagged")
    assert run_tagged(graph, M4, folder, streams=lambda g: streams_of(g, rows)) == ""


@settings(max_examples=25)
@given(data=st.data(), rows=HEIGHTS)
def test_bands_are_what_planes_have_there(data: st.DataObject, rows: Fraction) -> None:
    """Each layer makes each of its rows once, or none that nobody needs, of rows that are held then."""
    graph = drawn_net(lambda low, high: data.draw(st.integers(low, high)))
    streams = streams_of(graph, rows)
    assume(streams)
    (stream,) = streams
    rng = np.random.default_rng(0)
    (x,) = graph.inputs
    sample = rng.integers(-128, 128, x.type.static_shape).astype(x.type.dtype)
    values = [v for layer in stream.layers for v in (layer.result, *layer.region.operands)]
    arrays = dict(zip(values, evaluate(Graph((x,), tuple(values)), (sample,)), strict=True))
    made = [0] * len(stream.layers)
    for turn in stream.turns:
        for place, (one, band) in enumerate(zip(stream.layers, turn.made, strict=True)):
            assert band.start == made[place] and (not band or band.stop - turn.first[place] <= stream.held[place])
            made[place] = band.stop
            if not band or one.collects:
                continue
            needed = [one.needed(inner, band) for inner, _ in one.inputs]
            for (_, v), span in zip(one.inputs, needed, strict=True):
                source = stream.places.get(v)
                assert source is None or turn.first[source] <= span.start <= span.stop <= made[source]
            pieces = [arrays[v][:, :, r.start : r.stop] for (_, v), r in zip(one.inputs, needed, strict=True)]
            (got,) = evaluate(one.banded(band).body, pieces)
            wanted = arrays[one.result][:, :, band.start : band.stop]
            np.testing.assert_allclose(
                got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max() * (got.dtype == np.float32)
            )
    assert made[-1] == stream.layers[-1].height


def block(dtype: str = "int8") -> Graph:
    """A residual block between two strided layers, of odd sizes."""
    x = arg("x", dtype, (1, 1, 13, 7))
    y = conv(x, 8, 3, 1, (1,) * 4, depthwise=False)
    z = conv(conv(y, 8, 3, 1, (1,) * 4, depthwise=True), 8, 3, 1, (1,) * 4, depthwise=False)
    y = added(z, y)
    return Fuse()(Graph((x,), (conv(y, 1, 5, 2, (2, 2, 1, 2), depthwise=False),)))


def whole_stream(graph: Graph) -> Sequence[Stream]:
    lowering = Lowering(graph, M4)
    return [Stream(tuple(one for node in lowering.computing if (one := lowering.layer(node))), Fraction(1))]


def summed() -> Graph:
    """Layers that end in the sum of a plane, which is read as a vector."""
    x = arg("x", "int8", (1, 1, 9, 5))
    y = conv(conv(x, 8, 3, 1, (1,) * 4, depthwise=False), 8, 3, 1, (1,) * 4, depthwise=True)
    return Fuse()(Graph((x,), (narrowed(SumPool(kernel=(9, 5))(y)),)))


@pytest.mark.parametrize("rows", [Fraction(1), Fraction(4), Fraction(9)])
def test_planes_are_summed_row_by_row(rows: Fraction, tmp_path: Path) -> None:
    assert run_tagged(summed(), M4, tmp_path, streams=lambda g: [replace(s, rows=rows) for s in whole_stream(g)]) == ""


def test_what_lies_between_two_streams_is_whole(tmp_path: Path) -> None:
    def two(graph: Graph) -> Sequence[Stream]:
        (stream,) = whole_stream(graph)
        return [Stream(stream.layers[:3], Fraction(1)), Stream(stream.layers[3:], Fraction(2))]

    x = arg("x", "int8", (1, 1, 9, 5))
    y = x
    for channels in (8, 8, 8, 6, 6, 1):
        y = conv(y, channels, 3, 1, (1,) * 4, depthwise=False)
    assert run_tagged(Fuse()(Graph((x,), (y,))), M4, tmp_path, streams=two) == ""


def test_rows_that_are_not_kept_from_turn_to_turn_are_caught(tmp_path: Path) -> None:
    assert run_tagged(block(), M4, tmp_path, streams=whole_stream) == ""
    with patch.object(Stream, "kept", lambda stream, place: place == len(stream.layers) - 1):
        assert "reads byte" in run_tagged(block(), M4, tmp_path, streams=whole_stream)


def least(graph: Graph, target: str) -> int:
    """The bytes of RAM that the error for none names."""
    with pytest.raises(BudgetExceeded, match=r"bytes of RAM needed") as caught:
        graphopt.compile(graph, target, ram=0)
    return int(caught.value.what.partition(" ")[0].replace(",", ""))


@pytest.mark.parametrize("net", [block, summed])
@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55"])
def test_programs_give_the_same(target: str, net: Callable[[], Graph]) -> None:
    bytes_ = least(net(), target)
    program = check_program(net(), replace(get_target(target), ram=bytes_))
    assert program.manifest["workspace_bytes"] == bytes_ and "loops" in program.manifest


def test_floats_give_the_same() -> None:
    check_program(block("float32"), replace(M4, ram=least(block("float32"), "cortex-m4")))
