"""Products and depthwise convolutions on a Cortex-M4: exact whatever the shapes, and without a cliff between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from mlperf import quantized

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, ConvInteger, LinearInteger, Lookup, Requantize, SumPool
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.calls import Lowered
from graphopt.targets.lowering import lower

M4 = get_target("cortex-m4")
Layer = tuple[Value, Value]
"""An input of int8 and what is computed of it; layers side by side are one program, which starts an emulator once."""


def weights(rng: np.random.Generator, *shape: int, least: int = -127) -> Value:
    return constant(rng.integers(least, 128, shape).astype(np.int8))


def bias(rng: np.random.Generator, channels: int) -> Value:
    return constant(rng.integers(-3000, 3000, channels).astype(np.int32))


def scaled(rng: np.random.Generator, x: Value, low: int = -128) -> Value:
    """Requantized by channel."""
    channels = x.type.static_shape[1 if x.type.rank > 2 else -1]
    column = (channels, *(1,) * (x.type.rank - 2)) if x.type.rank > 2 else (channels,)
    multiplier = rng.integers(1 << 30, (1 << 31) - 1, column).astype(np.int32)
    shift = rng.integers(39, 43, column).astype(np.int32)
    op = Requantize(zero_point=int(rng.integers(-90, 90)), low=low)
    return op(x, constant(multiplier), constant(shift))


def linear(rng: np.random.Generator, rows: int, inputs: int, outputs: int) -> Layer:
    x = arg("x", "int8", (rows, inputs))
    op = LinearInteger(zero_point=int(rng.integers(-128, 128)))
    return x, scaled(rng, op(x, weights(rng, outputs, inputs), bias(rng, outputs)))


def conv(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    outputs: int,
    kernel: tuple[int, ...],
    depthwise: bool = False,
    least: int = -127,
    port: bool = False,
    **window: tuple[int, ...],
) -> Layer:
    """A convolution of what another one gives, which is channels-last, or of a port, which is not."""
    x = arg("x", "int8", shape)
    channels = shape[1]
    first = ConvInteger()(x, weights(rng, channels, channels, *(1,) * len(kernel)), bias(rng, channels))
    given = x if port else scaled(rng, first)
    group, deep, outputs = (channels, 1, channels) if depthwise else (1, channels, outputs)
    op = ConvInteger(group=group, zero_point=int(rng.integers(-128, 128)), **window)
    y = scaled(rng, op(given, weights(rng, outputs, deep, *kernel, least=least), bias(rng, outputs)))
    last = ConvInteger()(y, weights(rng, 2, outputs, *(1,) * len(kernel)), bias(rng, 2))
    return x, y if port else scaled(rng, last)


def lowered(graph: Graph, optimize: str = "balanced") -> Lowered:
    return lower(graph, replace(M4, optimize=optimize))


def rules(graph: Graph, optimize: str = "balanced") -> list[str]:
    """By which rule each kernel is made, by the last part of its name."""
    return [call.how.rule.split(" ")[0].rpartition(".")[2] for call in lowered(graph, optimize).calls]


@pytest.fixture(autouse=True)
def kernels_of_layers(request: pytest.FixtureRequest) -> None:
    """Whole nets alone have what is chosen by costs."""
    if request.node.originalname != "test_what_nets_take":
        request.getfixturevalue("usual_kernels")


def check(layers: Sequence[Layer], by: str = "_by_products", optimize: str = "balanced") -> list[int]:
    """A program of layers gives what the graph does, by the rules of these kernels; the instructions of each kernel."""
    graph = Fuse()(Graph(tuple(x for x, _ in layers), tuple(y for _, y in layers)))
    assert all(rule.endswith(by) for rule in rules(graph, optimize))
    rng = np.random.default_rng(1)
    feed = [rng.integers(-128, 128, x.type.static_shape).astype(np.int8) for x, _ in layers]
    run = graphopt.compile(graph, M4, optimize=optimize).measure_batches([feed])
    for got, want, layer in zip(run.outputs[0], graph(*feed), layers, strict=True):
        np.testing.assert_array_equal(got, want, err_msg=str(layer[1].node))
    assert run.per_kernel is not None
    return list(run.per_kernel)


SIZES = [1, 2, 3, 4, 5, 8, 13, 17, 32, 70]


def walk(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Depths and channels: each of one with some of the other."""
    yield from ((size, sizes[-1 - i]) for i, size in enumerate(sizes))
    yield from ((size, 16) for size in sizes)


def bound(rows: int, inputs: int, outputs: int) -> float:
    """What a matrix product may take: by pixels and channels in pairs (or four), by blocks of four, and for each."""
    pixels, channels = (-(-rows // 2), -(-outputs // 2)) if rows > 1 else (1, -(-outputs // 4))
    blocks = -(-inputs // 4)
    each = 12 if rows > 1 else 13.9
    return (
        80 + pixels * (60 + 12 * blocks * min(rows, 2)) + pixels * channels * (31 + each * blocks) + 8 * rows * outputs
    )


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_matrix_products_of_all_sizes(rows: int) -> None:
    rng = np.random.default_rng(rows)
    shapes = list(walk(SIZES))
    counts = check([linear(rng, rows, *shape) for shape in shapes])
    for count, (inputs, outputs) in zip(counts, shapes, strict=True):
        assert count <= bound(rows, inputs, outputs), (rows, inputs, outputs)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("part", range(10))
def test_matrix_products_of_every_size(rows: int, part: int) -> None:
    rng = np.random.default_rng(rows)
    shapes = list(walk(range(1, 71)))[part::10]
    counts = check([linear(rng, rows, *shape) for shape in shapes])
    for count, (inputs, outputs) in zip(counts, shapes, strict=True):
        assert count <= bound(rows, inputs, outputs), (rows, inputs, outputs)


def hold_pointwise(shapes: Sequence[tuple[int, int]]) -> None:
    """1x1 convolutions take a few instructions a product, and the fewer, the larger they are."""
    rng = np.random.default_rng(0)
    counts = check([conv(rng, (1, inputs, 4, 6), outputs, (1, 1)) for inputs, outputs in shapes])
    for count, (inputs, outputs) in zip(counts[1::3], shapes, strict=True):
        blocks, groups = -(-inputs // 4), -(-outputs // 2)
        pair = 100 + 24 * blocks + 16 * (outputs % 2) + groups * (32 + 11.9 * blocks)
        assert count <= 30 + 12 * pair, (inputs, outputs)


def test_pointwise_convolutions_of_all_sizes() -> None:
    hold_pointwise(list(walk(SIZES)))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_pointwise_convolutions_of_every_size(part: int) -> None:
    hold_pointwise(list(walk(range(1, 71)))[part::10])


WINDOWS = [
    {},
    {"pads": (1, 1, 1, 1)},
    {"strides": (2, 2), "pads": (0, 0, 1, 1)},
    {"strides": (1, 2), "pads": (2, 1, 0, 2)},
    {"dilations": (2, 2), "pads": (2, 2, 2, 2)},
]


def test_convolutions_of_all_windows() -> None:
    rng = np.random.default_rng(0)
    kernels = [(1, 1), (3, 3), (2, 4), (4, 1)]
    layers = [
        conv(rng, (1 + i % 2, channels, 7, 6), 5, kernel, port=bool(i % 3 == 0), **window)
        for i, (kernel, window, channels) in enumerate(product(kernels, WINDOWS, (3, 4)))
        if min(kernel) > 1 or "dilations" not in window
    ]
    layers += [conv(rng, (1, channels, 9), 4, (3,), strides=(2,), pads=(1, 1)) for channels in (3, 8)]
    check(layers)


def test_depthwise_convolutions_of_all_windows() -> None:
    rng = np.random.default_rng(0)
    windows = WINDOWS[:4]
    kernels = [(3, 3), (5, 5), (3, 1), (1, 4), (10, 1)]
    layers = [
        conv(rng, (1, 4, 12, (5, 6, 11)[i % 3]), 4, kernel, depthwise=True, least=-128, **window)
        for i, (kernel, window) in enumerate(product(kernels, windows))
    ]
    layers += [conv(rng, (1, 4, 12, width), 4, (3, 3), True, pads=(1, 1, 1, 1)) for width in (3, 4, 7, 8, 9)]
    layers += [conv(rng, (2, 3, 60, 50), 3, (3, 3), True, pads=(1, 1, 1, 1))]  # by several strips
    layers += [conv(rng, (1, 3, 9), 3, (5,), True, pads=(2, 2)), conv(rng, (1, 3, 9), 3, (2,), True, strides=(3,))]
    layers += [conv(rng, (1, 3, 9, 9), 3, (3, 3), True, dilations=(2, 1))]
    check(layers)


def test_what_follows_a_product() -> None:
    """Sums that are not scaled to all of int8 at once go through scratch: clipped, looked up, added, or as they are."""
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 8, 6, 6))
    w = weights(rng, 8, 8, 3, 3)

    def product() -> Value:
        return ConvInteger(pads=(1, 1, 1, 1))(x, w, bias(rng, 8))

    table = constant(rng.integers(-128, 128, 256).astype(np.int8))
    looked_up = Lookup()(scaled(rng, product()), table)
    results = (
        scaled(rng, product(), low=-100),
        looked_up,
        Add()(product(), product()),
        product(),
        Requantize()(SumPool(kernel=(6, 6), strides=(6, 6))(scaled(rng, product())), *halves()),
    )
    graph = Fuse()(Graph((x,), results))
    feed = rng.integers(-128, 128, (1, 8, 6, 6)).astype(np.int8)
    run = graphopt.compile(graph, M4).measure_batches([[feed]])
    for got, want in zip(run.outputs[0], graph(feed), strict=True):
        np.testing.assert_array_equal(got, want)
    assert "conv_by_products" in rules(graph)


def test_weights_of_16_bits_are_faster_and_exact_whatever_they_are() -> None:
    """With -128 among them and sums of more than 24 bits, too, which weights in bytes do not allow."""
    layers = [
        linear(np.random.default_rng(0), 1, 70, 8),
        linear(np.random.default_rng(1), 3, 33, 5),
        conv(np.random.default_rng(2), (1, 8, 6, 6), 6, (3, 3), pads=(1, 1, 1, 1)),
        conv(np.random.default_rng(3), (1, 5, 7, 7), 6, (3, 3), strides=(2, 2)),
        conv(np.random.default_rng(4), (1, 16, 4, 4), 16, (1, 1)),
    ]
    bytes_each, halfwords = check(layers), check(layers, optimize="speed")
    assert all(fast < slow for fast, slow in zip(halfwords, bytes_each, strict=True))
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 530))
    large = LinearInteger()(x, constant(np.full((4, 530), 127, np.int8)), bias(rng, 4))
    y = Requantize()(large, constant(np.full(4, 1 << 30, np.int32)), constant(np.full(4, 48, np.int32)))
    lowest = conv(rng, (1, 8, 6, 6), 6, (3, 3), least=-128, pads=(1, 1, 1, 1))
    check([(x, y), lowest], optimize="speed")
    with pytest.raises(graphopt.errors.InvalidInput, match="balanced, speed"):
        graphopt.compile(Graph((x,), (y,)), M4, optimize="fast")


def test_a_row_without_room_is_expanded_within_the_routine() -> None:
    inputs = 64
    x, y = linear(np.random.default_rng(0), 1, inputs, 20)
    graph = Fuse()(Graph((x,), (y,)))
    feed = np.random.default_rng(1).integers(-128, 128, (1, inputs)).astype(np.int8)
    runs = []
    for ram in (None, 64):
        program = graphopt.compile(graph, M4, ram=ram)
        run = program.measure([feed])
        np.testing.assert_array_equal(run.outputs[0][0], graph(feed)[0])
        assert ("multiply_bare_row(&" in program.files["model.c"].decode()) == (ram is not None)
        runs.append(run.instructions or 0)
    assert runs[0] < runs[1] < 1.5 * runs[0]


def halves() -> tuple[Value, Value]:
    return constant(np.int32(1 << 30)), constant(np.int32(35))


REASONS = {
    "a weight is below -127": np.full((4, 8, 1, 1), -128, np.int8),
    "its sums may need more than 24 bits": np.full((4, 530, 1, 1), 127, np.int8),
}


@pytest.mark.parametrize("why", REASONS)
def test_what_would_not_be_exact_is_declined(why: str) -> None:
    weight = REASONS[why]
    x = arg("x", "int8", (1, weight.shape[1], 2, 2))
    y = ConvInteger()(x, constant(weight), constant(np.zeros(4, np.int32)))
    graph = Fuse()(Graph((x,), (Requantize()(y, *halves()),)))
    (call,) = lowered(graph).calls
    assert call.kernel == "conv_1x1" and any(why in other for other in call.how.others)
    feed = np.full(x.type.static_shape, -128, np.int8)
    assert (graphopt.compile(graph, M4).run(feed) == graph(feed)[0]).all()


def test_a_form_that_gave_way_is_told_of() -> None:
    """Why neither rows of few channels nor runs of pixels, which few products would suit."""
    rng = np.random.default_rng(0)
    layers = [conv(rng, (1, 6, 6, 6), 4, (3, 3), pads=(1, 1, 1, 1)), conv(rng, (1, 12, 6, 6), 4, (1, 1))]
    graph = Fuse()(Graph(tuple(x for x, _ in layers), tuple(y for _, y in layers)))
    notes = [other for call in lowered(graph).calls for other in call.how.others]
    assert "rows of few channels declined: it takes windows of up to 4 channels, and of more than one column" in notes
    few = "it takes whole blocks of 4 channels, 2 at most"
    assert f"channel by channel over runs of pixels declined: {few}" in notes


def test_a_channel_of_one_value_has_a_bias_of_any_size() -> None:
    """A dead channel's scale is tiny, and its bias in terms of that is beyond 24 bits."""
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (3, 8))
    start = np.array([100, 1 << 30, -(1 << 30), -5], np.int32)
    y = LinearInteger()(x, weights(rng, 4, 8), constant(start))
    check([(x, Requantize()(y, constant(np.full(4, 1 << 30, np.int32)), constant(np.full(4, 42, np.int32))))])


HELD = {
    "kws": (2_611_000, 4_500, 8_300),
    "resnet8": (9_190_000, 10_400, 21_600),
    "ad": (252_000, 1_050, 1_420),
}
"""Of the int8 nets on an M4: instructions of one run, bytes of code, bytes of the arena. Not more, and not 1 % less."""


@pytest.mark.parametrize("name", HELD)
def test_what_nets_take(name: str, shared: Path) -> None:
    graph = quantized(shared, name)
    program = graphopt.compile(graph, M4)
    sample = np.zeros(program.manifest["inputs"][0]["shape"], np.int8)
    instructions, code, arena = HELD[name]
    run = program.measure([sample])
    assert run.instructions is not None
    assert 0.99 * instructions <= run.instructions <= instructions
    assert program.sizes.code <= code
    assert program.sizes.workspace <= arena
    predicted = program.manifest["predicted"]
    assert predicted["instructions"] == pytest.approx(run.instructions, rel=0.05)
    assert predicted["code_bytes"] == pytest.approx(program.sizes.code, rel=0.1)
