"""Weights stored as float16: what they are rounded to, what declines, and that every core reads the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from compiling import KINDS_OF_CODE, NATIVE, Weights, check_program, in_long_runs
from mlperf import NETS, graphs, program, score_of_split
from onnx import TensorProto

import graphopt
from graphopt import Pipeline, compile
from graphopt.ir import Array, Graph, Value, arg, constant, parse
from graphopt.ops import Conv, ConvInteger, Linear, LinearInteger, Mul, Relu, fits_half, rounded_to_half
from graphopt.passes import Context, FoldAffine, Fuse, Quantize, StoreHalf, default_pipeline

LAYERS = 7

PATTERNS = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
NUMBERS = PATTERNS[np.isfinite(PATTERNS)]
"""Every finite float16, those that are subnormal too."""


def layers() -> Graph:
    """Tiled over a plane, in groups, depthwise, pointwise, over one axis, over rows; odd numbers of channels."""
    g = Weights()
    x, line, rows, more = g.x(1, 6, 7, 9), g.x(1, 4, 11), g.x(3, 20), g.x(2, 3, 8)
    pads = (1, 1, 1, 1)
    made = [
        Conv(pads=pads)(x, g.w(10, 6, 3, 3), g.w(10)),
        Conv(pads=pads, group=3)(x, g.w(9, 2, 3, 3), g.w(9)),
        Conv(pads=pads, strides=(2, 1), group=6)(x, g.w(6, 1, 3, 3), g.w(6)),
        Conv()(x, g.w(33, 6, 1, 1), g.w(33)),
        Conv(pads=(2, 1))(line, g.w(5, 4, 3), g.w(5)),
        Linear()(rows, g.w(33, 20), g.w(33)),
        Linear()(more, g.w(5, 8), g.w(5)),
    ]
    return g.graph(*map(Relu(), made))


def one_linear(weight: Array) -> Graph:
    x = arg("x", str(weight.dtype), (2, weight.shape[1]))
    return Graph((x,), (Linear()(x, constant(weight, "w"), constant(np.zeros(len(weight), weight.dtype)), name="fc"),))


def weights_of(graph: Graph) -> list[Array]:
    found = [n.inputs[1].constant for n in graph.nodes if isinstance(n.op, Conv | Linear)]
    return [w for w in found if w is not None]


def stored(graph: Graph) -> tuple[Graph, list[str]]:
    context = Context()
    result = StoreHalf().run(graph, context)
    return result, [str(note) for note in context.notes]


def test_numbers_are_rounded_to_nearest_subnormal_ones_too() -> None:
    ulp, least = 2.0**-10, 2.0**-24
    weight = [1 + ulp / 2, 1 + 1.5 * ulp, 65504, -65519, 65520, 1.6 * least, -least / 2, 1e-12, 0.1]
    wanted = [1, 1 + 2 * ulp, 65504, -65504, np.inf, 2 * least, 0, 0, np.float16(0.1)]
    for dtype in ("float32", "float64"):
        got = rounded_to_half(np.asarray(weight, dtype))
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, np.asarray(wanted, dtype))
    assert fits_half(NUMBERS)
    for odd in (0.1, 65505, 2.0**-25, np.inf, np.nan):
        assert not fits_half(np.asarray([1, odd], "float32"))


def test_weights_are_rounded_and_the_rest_is_not() -> None:
    graph = layers()
    half, notes = stored(graph)
    assert notes == [f"store-float16: {name}: weights stored as float16" for name in names_of_layers(graph)]
    for before, after in zip(weights_of(graph), weights_of(half), strict=True):
        np.testing.assert_array_equal(after, rounded_to_half(before))
        assert not np.array_equal(after, before)
    biases = [[n.inputs[2] for n in g.nodes if isinstance(n.op, Conv | Linear)] for g in (graph, half)]
    assert biases[0] == biases[1]
    Pipeline([StoreHalf(), Fuse()], check=True)(graph)


def names_of_layers(graph: Graph) -> list[str]:
    return [graph.names[n] for n in graph.nodes if isinstance(n.op, Conv | Linear)]


def test_it_is_printed_and_stored(tmp_path: Path) -> None:
    half, _ = stored(layers())
    assert str(half).count("{compact = True}") == LAYERS
    assert "compact" not in str(layers())
    assert str(parse(str(half), half.constants)) == str(half)
    graphopt.save(half, tmp_path / "net.gopt")
    assert str(graphopt.load(tmp_path / "net.gopt")) == str(half)


@pytest.mark.parametrize(
    ("weight", "why"),
    [
        (np.asarray([[1, -1e5]], "float32"), "its weights reach 100000, float16 ends at 65504"),
        (np.full((1, 2), 1e-9, "float32"), "its weights are too small for float16: they would keep 0 dB, of 60 wanted"),
        (np.ones((1, 2)), "its weights are float64"),
    ],
)
def test_what_float16_cannot_stand_for_declines(weight: Array, why: str) -> None:
    graph = one_linear(weight)
    half, notes = stored(graph)
    assert notes == [f"store-float16: fc: stays as it is: {why}"]
    assert str(half) == str(graph)


def test_layers_that_are_computed_decline() -> None:
    g = Weights()
    y = Linear()(g.x(3, 20), g.x(4, 20), g.w(4), name="fc")
    assert stored(g.graph(y))[1] == ["store-float16: fc: stays as it is: its weights are not constant"]


def patterns_net(numbers: Array) -> Graph:
    """A depthwise convolution over one pixel that gives its own weights, times its input."""
    channels = len(numbers)
    x = arg("x", "float32", (1, channels, 1, 1))
    zeros = constant(np.zeros(channels, "float32"))
    return Graph((x,), (Conv(group=channels)(x, constant(numbers.reshape(-1, 1, 1, 1), compact=True), zeros),))


@pytest.mark.parametrize("core", [*NATIVE[:-1], *KINDS_OF_CODE])
def test_every_number_is_read_exactly(core: str) -> None:
    """All 63,488 of them, or every 61st where memory is little."""
    numbers = NUMBERS[::61] if core.startswith("cortex") else NUMBERS
    program = compile(patterns_net(numbers), core)
    assert program.manifest["weight_bytes"] < 7 * len(numbers)  # two bytes of weight, four of bias
    got = program.run(np.ones((1, len(numbers), 1, 1), np.float32))
    np.testing.assert_array_equal(np.ravel(got), numbers)


@pytest.mark.parametrize("core", ["host", "cortex-m4", *in_long_runs("aarch64", "armv7", "cortex-m0")])
def test_programs_store_halves_and_compute_what_the_evaluator_does(core: str) -> None:
    half = Fuse()(stored(layers())[0])
    bytes_of = [check_program(graph, core).manifest["weight_bytes"] for graph in (half, Fuse()(layers()))]
    elements = sum(w.size for w in weights_of(layers()))
    assert bytes_of[1] - bytes_of[0] == pytest.approx(2 * elements, rel=0.05)  # but for alignment


def test_a_fold_keeps_the_numbers_right_and_gives_up_the_bytes() -> None:
    """The product of two numbers of float16 is none: the layer is stored in float32 again."""
    g = Weights()
    y = Linear()(g.x(3, 20), g.w(33, 20), g.w(33))
    half, _ = stored(g.graph(Mul()(y, constant(np.float32(1.7)))))
    folded = Pipeline([FoldAffine()], check=True)(half)
    assert not any(fits_half(w) for w in weights_of(folded))
    small = check_program(stored(folded)[0], "host").manifest["weight_bytes"]
    assert check_program(folded, "host").manifest["weight_bytes"] - small == 2 * 33 * 20


def test_integer_forms_leave_it_out() -> None:
    graph = layers()
    data = [{n: np.ones(v.type.static_shape, np.float32) for n, v in inputs(graph).items()}]
    for mode in ("static", "dynamic"):
        quantized = Quantize(calibration=data, mode=mode)(stored(graph)[0])
        made = [n.op for n in quantized.nodes if isinstance(n.op, ConvInteger | LinearInteger)]
        assert len(made) == LAYERS
        assert "compact" not in str(quantized)


def inputs(graph: Graph) -> dict[str, Value]:
    return {graph.names[v.node]: v for v in graph.inputs}


def test_onnx_files_hold_halves_and_torch_the_rounded_weights() -> None:
    half, _ = stored(layers())
    x = [np.random.default_rng(1).standard_normal(v.type.static_shape).astype("float32") for v in half.inputs]
    model = graphopt.to_onnx(half)
    kinds = [i.data_type for i in model.graph.initializer]
    assert kinds.count(TensorProto.FLOAT16) == LAYERS
    back = graphopt.load(model)
    for one, other in zip(weights_of(half), weights_of(back), strict=True):
        np.testing.assert_array_equal(one, other)
    for want, got in zip(half(*x), back(*x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    results = graphopt.to_torch(half)(*map(torch.from_numpy, x))
    for want, got in zip(half(*x), results, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-5, atol=1e-5)


def test_kws_keeps_its_score_in_half_the_bytes(shared: Path) -> None:
    loaded, _ = graphs(shared, "kws")
    half = Pipeline([*default_pipeline()[:-1], StoreHalf(), Fuse()])(loaded)
    small, large = compile(half, "host"), program(shared, "kws", "host")
    elements = sum(w.size for w in weights_of(loaded))
    saved = large.manifest["weight_bytes"] - small.manifest["weight_bytes"]
    assert saved == pytest.approx(2 * elements, rel=0.01)
    samples = np.concatenate(list(NETS["kws"].samples(shared)))
    scores = [score_of_split(shared, "kws", np.asarray(p.run(samples))) for p in (small, large)]
    assert abs(scores[0] - scores[1]) <= 0.001
