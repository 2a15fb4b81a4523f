"""The analysis of what quantising each layer costs: the planted culprit comes first, and what is suggested helps."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import graphopt
from graphopt.ir import Array, Batch, Graph, Value, arg, constant
from graphopt.ops import GRU, Conv, ReduceMean, Relu, Reshape, Sigmoid
from graphopt.passes import Context, Quantize
from graphopt.passes.contract import signal_to_noise
from graphopt.passes.quantize.regions import in_float, regions

NAMES = ["a", "b", "c[0]", "d", "e"]
SILENT = 3


def chain(culprit: str | None) -> Graph:
    """Five convolutions; the culprit weights a channel of its input that is always 0 a thousand times the others."""
    rng = np.random.default_rng(0)
    x = arg("x", "float32", (Batch(), 8, 6, 6))
    y: Value = x
    for name in NAMES:
        weight = rng.standard_normal((8, 8, 3, 3)) / 9
        weight[SILENT] = 0
        weight[:, SILENT] *= 1000 if name == culprit else 1
        bias = rng.standard_normal(8) / 4
        bias[SILENT] = 0
        parts = (constant(a.astype("float32")) for a in (weight, bias))
        y = Relu()(Conv(pads=(1, 1, 1, 1))(y, *parts, name=name))
    return Graph((x,), (ReduceMean(axes=(2, 3))(y),))


def data() -> list[Array]:
    x = np.random.default_rng(1).standard_normal((2, 16, 8, 6, 6)).astype("float32")
    x[:, :, SILENT] = 0
    return list(x)


@pytest.mark.parametrize("culprit", NAMES)
@pytest.mark.parametrize("batches", [slice(None), 0])
def test_the_planted_culprit_comes_first(culprit: str, batches: slice | int) -> None:
    graph, given = chain(culprit), data()[batches]
    report = graphopt.analyze_quantization(graph, given, Quantize(per_channel=False))
    first, second, *_ = report.layers
    assert first.name == culprit
    assert first.output_sqnr < second.output_sqnr - 6
    best = report.suggestions[0]
    assert best.overrides[culprit.replace("[", "[[]")] == "float32"
    assert best.gain > 6


def test_a_suggestion_buys_what_it_says() -> None:
    graph, given = chain("b"), data()
    context = Context()
    whole = Quantize(per_channel=False, calibration=given).insert(graph, context)
    want = np.concatenate([graph(x)[0] for x in given])

    def sqnr(quantized: Graph) -> float:
        return signal_to_noise(np.concatenate([quantized(x)[0] for x in given]), want)

    report = graphopt.analyze_quantization(graph, given, Quantize(per_channel=False))
    assert report.sqnr == pytest.approx(sqnr(whole))
    for suggestion in report.suggestions:
        assert suggestion.gain == pytest.approx(suggestion.sqnr - report.sqnr)
        real = Quantize(per_channel=False, calibration=given, overrides=suggestion.overrides).insert(graph, Context())
        assert sqnr(real) == pytest.approx(suggestion.sqnr)


def test_figures_of_a_layer() -> None:
    """Alone a layer loses no more than with all the others; a clipped range shows as saturation."""
    graph = chain(None)
    report = graphopt.analyze_quantization(graph, data())
    assert [row.output_sqnr for row in report.layers] == sorted(row.output_sqnr for row in report.layers)
    assert {row.name for row in report.layers} == {"x", *NAMES, "reduce_mean"}
    for row in report.layers:
        assert row.sqnr >= row.cumulative_sqnr - 0.5
        assert row.output_sqnr > report.sqnr
        assert row.range_used > 0.9
        assert row.saturation < 0.001
    clipped = graphopt.analyze_quantization(graph, data(), Quantize(observer="percentile"))
    assert max(row.saturation for row in clipped.layers) > 0


def test_a_float_island_is_part_of_the_layer_that_it_is_quantized_with() -> None:
    x = arg("x", "float32", (Batch(), 4, 5, 5))
    weight, bias = constant(np.full((2, 4, 1, 1), 0.3, "float32")), constant(np.zeros(2, "float32"))
    y = Conv()(Sigmoid()(x, name="gate"), weight, bias, name="conv")
    quantize = Quantize(overrides={"gate": "float32"})
    samples = np.random.default_rng(0).standard_normal((8, 4, 5, 5)).astype("float32")
    report = graphopt.analyze_quantization(Graph((x,), (y,)), samples, quantize)
    assert {row.name for row in report.layers} == {"x", "conv"}


def test_json_has_all_figures_and_no_infinity() -> None:
    x = arg("x", "float32", (Batch(), 4, 5, 5))
    graph = Graph((x,), (Relu()(x, name="act"),))
    zeros = np.zeros((2, 4, 5, 5), "float32")
    text = graphopt.analyze_quantization(graph, zeros).to_json()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["sqnr"] is None
    assert found["layers"][0]["max_error"] == 0.0
    assert set(found) == {"version", "sqnr", "layers", "suggestions"}


def test_the_weights_of_recurrent_layers_are_float_too_where_another_is_quantized_alone() -> None:
    rng = np.random.default_rng(0)

    def gru(x: Value, name: str) -> Value:
        shapes = (1, 12, x.type.shape[2]), (1, 12, 4), (1, 24)
        weights = (constant(rng.uniform(-0.5, 0.5, shape).astype("float32")) for shape in shapes)
        return GRU().apply(x, *weights, name=name).results[0]

    x = arg("x", "float32", (6, 2, 5))
    graph = Graph((x,), (gru(Reshape(shape=(6, 2, 4))(gru(x, "first")), "second"),))
    samples = rng.standard_normal((6, 2, 5)).astype("float32")
    whole = Quantize(calibration=samples).insert(graph, Context())
    found = regions(whole)
    (last,) = (r for r in found if any(whole.names[n] == "second" for n in r.nodes))
    made = in_float(whole, graph, [r for r in found if r is not last], last.nodes)
    for g, same in ((made, True), (whole, False)):
        (got,), (want,) = (replace(h, outputs=h.node("first").results[:1])(samples) for h in (g, graph))
        assert np.array_equal(got, want) == same
    assert not np.array_equal(made(samples)[0], graph(samples)[0])
