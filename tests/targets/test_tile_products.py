"""Winograd's convolution of int8 on cores with DSP: exact whatever the shapes, in few instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from compiling import check_program
from hypothesis import given, settings
from hypothesis import strategies as st
from tagged import run_tagged
from targets.test_dsp_kernels import M4, Layer, bias, conv, scaled, weights
from targets.test_overlap import Draw, layer
from targets.test_overlap import conv as plain_conv
from targets.test_rows import added, closed, least

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, Concat, ConvInteger, Lookup, Slice
from graphopt.passes import Fuse
from graphopt.rewrite import Decline
from graphopt.targets import get_target, lowering
from graphopt.targets.costs import read_costs
from graphopt.targets.gathering import Lowering
from graphopt.targets.instructions.winograd import DOUBLED, INPUT, PLACES, ROUTINES, SIDE, SPREAD
from graphopt.targets.kernels import KERNEL_RULES, Kernel, Task
from graphopt.targets.kernels.products import conv_by_products
from graphopt.targets.kernels.tile_products import conv_by_tiles
from graphopt.targets.lowering import lower
from graphopt.targets.rows import Stream

KERNEL = "winograd_3x3"


def tiles_or_products(task: Task[ConvInteger]) -> Kernel:
    try:
        return conv_by_tiles(task)
    except Decline:
        return conv_by_products(task)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch, usual_kernels: None) -> None:
    """Wherever it can be, whatever it costs."""
    monkeypatch.setitem(KERNEL_RULES, (ConvInteger, "dsp"), tiles_or_products)


def counted(layers: Sequence[Layer]) -> list[tuple[str, int]]:
    """A program of layers gives what the graph does; the kernels and the instructions of each."""
    graph = Fuse()(Graph(tuple(x for x, _ in layers), tuple(y for _, y in layers)))
    rng = np.random.default_rng(1)
    feed = [rng.integers(-128, 128, x.type.static_shape).astype(np.int8) for x, _ in layers]
    program = graphopt.compile(graph, M4)
    run = program.measure_batches([feed])
    for got, want, (_, y) in zip(run.outputs[0], graph(*feed), layers, strict=True):
        np.testing.assert_array_equal(got, want, err_msg=str(y.node))
    assert run.per_kernel is not None
    return list(zip((row["kernel"] for row in program.manifest["kernels"]), run.per_kernel, strict=True))


def by_tiles(layers: Sequence[Layer]) -> list[int]:
    """The instructions of the kernels of the convolutions of 3x3, which all go by tiles."""
    found = [count for kernel, count in counted(layers) if kernel.startswith(KERNEL)]
    assert len(found) == len(layers)
    return found


PADS = [(1, 1, 1, 1), (0, 0, 0, 0), (0, 2, 1, 0), (2, 1, 0, 2), (1, 0, 2, 1)]


@pytest.mark.usefixtures("always")
def test_shapes_pads_and_channels() -> None:
    """Even and odd sizes, up to one row and four columns, and channels that fill blocks and pairs or not."""
    rng = np.random.default_rng(0)
    shapes = [(1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (7, 4), (9, 11)]
    channels = [(4, 2), (8, 3), (3, 4), (5, 1), (12, 6), (1, 5)]
    layers = []
    for i, (rows, columns) in enumerate(shapes * 2):
        pads, (inputs, outputs) = PADS[i % len(PADS)], channels[i % len(channels)]
        size = rows + 2 - pads[0] - pads[2], columns + 2 - pads[1] - pads[3]
        if min(size) > 0:
            layers.append(conv(rng, (1 + i % 2, inputs, *size), outputs, (3, 3), least=-128, pads=pads))
    layers.append(conv(rng, (1, 72, 4, 4), 3, (3, 3), pads=(1, 1, 1, 1)))
    assert len(by_tiles(layers)) > 14


@pytest.mark.usefixtures("always")
def test_what_follows_tiles() -> None:
    """Clipped, looked up, added to what else there is, and sums as they are, over columns that are computed twice."""
    rng = np.random.default_rng(0)

    def product(size: tuple[int, int], outputs: int) -> tuple[Value, Value, Value]:
        x = arg("x", "int8", (1, outputs, *size))
        first = scaled(rng, ConvInteger()(x, weights(rng, outputs, outputs, 1, 1), bias(rng, outputs)))
        w = weights(rng, outputs, outputs, 3, 3)
        return x, first, ConvInteger(zero_point=-7, pads=(1, 1, 1, 1))(first, w, bias(rng, outputs))

    table = constant(rng.integers(-128, 128, 256).astype(np.int8))
    layers = []
    for size, outputs in (((6, 8), 8), ((5, 6), 7), ((7, 7), 8)):
        for follow in (
            lambda first, y: scaled(rng, y, low=-20),
            lambda first, y: Lookup()(scaled(rng, y), table),
            lambda first, y: added(scaled(rng, y), first),
            lambda first, y: Add()(y, y),
            lambda first, y: y,
        ):
            x, first, y = product(size, outputs)
            layers.append((x, follow(first, y)))
    by_tiles(layers)


def bound(inputs: int, outputs: int) -> float:
    """What 4x8 pixels may take: by pairs of tiles, blocks, and pairs of channels."""
    blocks, pairs = -(-inputs // 4), -(-outputs // 2)
    copied = 24 * 30 + 100 * blocks  # each pair of tiles is at the border
    copied += 24 * (12 + inputs) * (inputs % 4 > 0)
    last = 300 * (outputs % 2)
    return 60 + 4 * (200 + 301 * blocks + copied + last + pairs * (390 + (160 if blocks <= 16 else 172) * blocks))


def hold_tiles(shapes: Sequence[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    counts = by_tiles([conv(rng, (1, inputs, 4, 8), outputs, (3, 3), pads=(1, 1, 1, 1)) for inputs, outputs in shapes])
    for count, (inputs, outputs) in zip(counts, shapes, strict=True):
        assert count <= bound(inputs, outputs), (inputs, outputs)


SIZES = [1, 2, 3, 4, 5, 8, 13, 17, 32, 70]


@pytest.mark.usefixtures("always")
def test_there_is_no_cliff_between_channels() -> None:
    hold_tiles([(size, SIZES[-1 - i]) for i, size in enumerate(SIZES)])


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("part", range(10))
def test_there_is_no_cliff_between_any_channels(part: int) -> None:
    shapes = [*((size, 71 - size) for size in range(1, 71)), *((size, 16) for size in range(1, 71))]
    hold_tiles(shapes[part::10])


@pytest.mark.usefixtures("always")
def test_instructions_of_a_product() -> None:
    """Of layers as ResNet8 has them."""
    rng = np.random.default_rng(0)
    held = {16: (32, 0.53), 32: (16, 0.407), 64: (8, 0.345)}
    layers = [conv(rng, (1, c, size, size), c, (3, 3), pads=(1, 1, 1, 1)) for c, (size, _) in held.items()]
    for count, (c, (size, most)) in zip(by_tiles(layers), held.items(), strict=True):
        assert 0.98 * most <= count / (9 * c * c * size * size) <= most


def tagged_chain(draw: Draw) -> Graph:
    """Convolutions of 3x3 and other layers, residual blocks among them, between convolutions of single pixels."""
    x = arg("x", "int8", (1, draw(1, 9), draw(1, 11), draw(4, 11)))
    y = plain_conv(x, draw(1, 9), 1, 1, (0,) * 4, depthwise=False)
    for _ in range(4):
        what, pads = draw(0, 4), tuple(draw(0, 1) for _ in range(4))
        if what == 0:
            y = layer(y, draw)
        elif what == 1:
            y = added(plain_conv(y, y.type.static_shape[1], 3, 1, (1,) * 4, depthwise=False), y)
        elif min(y.type.static_shape[2:]) > 2:
            y = plain_conv(y, draw(1, 9), 3, 1, pads, depthwise=False)
    return Fuse()(Graph((x,), (plain_conv(y, 2, 1, 1, (0,) * 4, depthwise=False),)))


def streams_of(graph: Graph, rows: Fraction) -> Sequence[Stream]:
    """The longest stream of a graph whose first and last layers are whole, with what its kernels make together."""
    lowering = Lowering(graph, M4)
    lowering.run()
    layers = [one for node in lowering.computing[1:-1] if (one := lowering.layer(node)) is not None]
    layers = layers[: next((i for i, one in enumerate(layers, 1) if one.collects), len(layers))]
    while len(layers) > 1 and not closed(graph, layers):
        layers.pop()
    return [Stream(tuple(layers), rows)] if len(layers) > 1 else []


ROWS = st.sampled_from([None, Fraction(1, 2), Fraction(1), Fraction(2), Fraction(3)])


def run_drawn(data: st.DataObject, rows: Fraction | None, folder: Path) -> None:
    """Each byte is held until it was read, layer by layer or by rows."""
    graph = tagged_chain(lambda low, high: data.draw(st.integers(low, high)))
    assert run_tagged(graph, M4, folder, streams=lambda g: streams_of(g, rows) if rows else ()) == ""


@settings(max_examples=5)
@given(data=st.data(), rows=ROWS)
def test_drawn_tiles(data: st.DataObject, rows: Fraction | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patching:
        patching.setitem(KERNEL_RULES, (ConvInteger, "dsp"), tiles_or_products)
        run_drawn(data, rows, tmp_path_factory.mktemp("tagged"))


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data(), rows=ROWS)
def test_many_tiles(data: st.DataObject, rows: Fraction | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patching:
        patching.setitem(KERNEL_RULES, (ConvInteger, "dsp"), tiles_or_products)
        run_drawn(data, rows, tmp_path_factory.mktemp("tagged"))


def residual_block() -> Graph:
    """Convolutions of 3x3 by tiles, over an odd number of rows, and one at strides of 2 behind them."""
    x = arg("x", "int8", (1, 1, 17, 12))
    y = plain_conv(x, 8, 3, 1, (1,) * 4, depthwise=False)
    z = plain_conv(y, 8, 3, 1, (1,) * 4, depthwise=False)
    y = added(plain_conv(z, 8, 3, 1, (1,) * 4, depthwise=False), y)
    return Fuse()(Graph((x,), (plain_conv(y, 1, 3, 2, (1,) * 4, depthwise=False),)))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("rows", [Fraction(1), Fraction(2), Fraction(4)])
def test_streams_make_the_rows_of_tiles_together(rows: Fraction) -> None:
    graph = residual_block()
    lowering = Lowering(graph, M4)
    lowering.run()
    layers = [one for node in lowering.computing if (one := lowering.layer(node)) is not None]
    assert [one.together for one in layers] == [2, 2, 2, 1]
    stream = Stream(tuple(layers), rows)
    for turn in stream.turns:
        for one, made in zip(layers, turn.made, strict=True):
            assert made.stop == one.height or made.stop % one.together == 0
    assert stream.turns[-1].made[-1].stop == layers[-1].height


@pytest.mark.usefixtures("always")
def test_programs_by_rows_give_the_same() -> None:
    bytes_ = least(residual_block(), "cortex-m4")
    program = check_program(residual_block(), replace(M4, ram=bytes_))
    assert program.manifest["workspace_bytes"] == bytes_ and "loops" in program.manifest


def test_where_ram_has_no_room_for_tiles_the_kernels_are_the_usual_ones() -> None:
    """And not those of the least scratch, which are slower."""
    x, y = conv(np.random.default_rng(0), (1, 16, 12, 12), 16, (3, 3), pads=(1, 1, 1, 1))
    graph = Fuse()(Graph((x,), (y,)))
    ample = graphopt.compile(graph, M4, optimize="speed")
    ram = ample.manifest["workspace_bytes"] - 8
    short = graphopt.compile(graph, M4, optimize="speed", ram=ram)
    assert short.manifest["workspace_bytes"] <= ram
    kernels = [[row["rule"] for row in program.manifest["kernels"]] for program in (ample, short)]
    assert ["tiles" in rule for rule in kernels[0]] == [False, True, False]
    assert not any("tiles" in rule or "gathered" in rule for rule in kernels[1])


@pytest.mark.usefixtures("always")
def test_parts_of_larger_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels that are read and written where a larger value has them, though copies would take less memory."""
    monkeypatch.setattr(lowering, "least_of", lambda first, *others: first)
    x = arg("x", "int8", (1, 3, 5, 9))
    y = plain_conv(x, 16, 1, 1, (0,) * 4, depthwise=False)
    parts = [Slice(axis=1, start=start, stop=start + 8)(y) for start in (0, 8)]
    made = [plain_conv(p, out, 3, 1, (1,) * 4, depthwise=False) for p, out in zip(parts, (8, 12), strict=True)]
    graph = Fuse()(Graph((x,), (plain_conv(Concat(axis=1)(*made), 2, 1, 1, (0,) * 4, depthwise=False),)))
    program = check_program(graph, M4)
    kernels = [row["kernel"] for row in program.manifest["kernels"]]
    assert len(kernels) == 4 and sum(kernel.startswith(KERNEL) for kernel in kernels) == 2
    assert run_tagged(graph, M4, tmp_path) == ""


def test_what_is_transformed_has_16_bits() -> None:
    """Whatever elements and weights of 8 bits are: each place is a sum with the signs of its own."""
    for matrix, columns, most in ((INPUT, SIDE, 4 * 128), (DOUBLED, 3, 9 * 128)):
        signs = np.sign(np.einsum("ai,bj->abij", matrix, matrix)).reshape(PLACES, columns, columns)
        for extreme in (np.where(signs > 0, 127, -128), np.where(signs > 0, -128, 127)):
            found = np.einsum("ai,pij,bj->pab", matrix, extreme, matrix)
            assert np.abs(found).max() <= most < 1 << 15


REASONS: dict[str, Callable[[np.random.Generator], Layer]] = {
    "windows of 3x3": lambda rng: conv(rng, (1, 8, 6, 6), 4, (3, 3), strides=(2, 2)),
    "fewer than 4 pixels": lambda rng: conv(rng, (1, 8, 6, 5), 4, (3, 3)),
    "in one group": lambda rng: conv(rng, (1, 4, 6, 6), 4, (3, 3), depthwise=True),
    "side by side": lambda rng: conv(rng, (1, 8, 6, 6), 4, (3, 3), port=True),
}


@pytest.mark.parametrize("why", REASONS)
def test_what_tiles_decline(why: str) -> None:
    x, y = REASONS[why](np.random.default_rng(0))
    assert why in declined(Fuse()(Graph((x,), (y,))))


def declined(graph: Graph) -> str:
    """Why the convolution of 3x3 of a graph does not go by tiles."""
    lowering = Lowering(graph, M4)
    lowering.run()
    tasks = [t for t in lowering.tasks.values() if isinstance(t.op, ConvInteger) and t.inputs[1].type.shape[-1] == 3]
    with pytest.raises(Decline) as caught:
        conv_by_tiles(tasks[0])
    return str(caught.value)


def test_sums_that_are_too_large_are_declined() -> None:
    """Of 30 bits: those that take all of 32 are exact by the direct form alone."""
    x = arg("x", "int8", (1, 8, 4, 4))
    weight = np.full((2, 8, 3, 3), 127, np.int8)
    large = np.array([(1 << 30) - 9000, 5], np.int32)
    y = ConvInteger(pads=(1, 1, 1, 1))(x, constant(weight), constant(large))
    assert "more than 30 bits" in declined(Fuse()(Graph((x,), (y,))))


def test_vectors_are_not_given_up_for_tiles() -> None:
    x, y = conv(np.random.default_rng(0), (1, 16, 8, 8), 16, (3, 3), pads=(1, 1, 1, 1))
    graph = Fuse()(Graph((x,), (y,)))
    for optimize in ("balanced", "speed"):
        for name in ("cortex-m55", "cortex-m3", "cortex-m0"):
            lowered = lower(graph, replace(get_target(name), optimize=optimize))
            assert not any(call.kernel.startswith(KERNEL) for call in lowered.calls)


def test_the_weights_of_tiles_are_bought_for_speed_alone() -> None:
    x, y = conv(np.random.default_rng(0), (1, 32, 8, 8), 32, (3, 3), pads=(1, 1, 1, 1))
    graph = Fuse()(Graph((x,), (y,)))
    chosen = {
        optimize: any(call.kernel.startswith(KERNEL) for call in lower(graph, replace(M4, optimize=optimize)).calls)
        for optimize in ("size", "balanced", "speed")
    }
    assert chosen == {"size": False, "balanced": False, "speed": True}


def test_what_tiles_cost_is_known() -> None:
    """Bytes of routines follow from their lines; time that is not known would count as next to nothing."""
    costs = read_costs("dsp")
    assert costs is not None
    for name in (SPREAD.name, *(routine.name for routine in ROUTINES.values())):
        assert all(name in part for part in (costs.instructions, costs.cycles))
