"""Inputs of bytes: the same results as of the reals that they stand for, for every byte, and what ports cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphopt
from graphopt import Port, Program
from graphopt.errors import GraphoptError, InvalidInput, Unsupported
from graphopt.ir import Array, Batch, Graph, arg, constant
from graphopt.ops import Conv, Dequantize, Quantize, Relu
from graphopt.passes import Fuse
from graphopt.passes import Quantize as QuantizeModel
from graphopt.targets import get_target

TARGETS = ["host", "cortex-m0", "cortex-m4", "cortex-m55"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERY = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), (1, 3, 1, 1))
"""Every byte in each of three channels."""


def reals(pixels: Array, port: Port) -> Array:
    """What bytes [n, c, h, w] stand for, as image libraries compute it."""
    x = pixels.astype(np.float32)
    x = x / np.float32(1 / port.scale) if abs(port.scale) < 1 else x * np.float32(port.scale)
    mean, std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (port.mean, port.std))
    return np.asarray((x - mean) / std)


def last(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def drawn_ports(rng: np.random.Generator) -> list[tuple[Port, Array, Array]]:
    """Ports, with the scale and the zero point by which a graph quantizes what they stand for."""
    found = []
    for i in range(12):
        scale = float(rng.choice([1, 1 / 255, 1 / 127.5, 1 / 128, 0.017, 3, rng.uniform(1e-3, 2)]))
        mean, std = (tuple(rng.uniform(0.1, 1, 3) * scale * 200) if i % 3 else 0.0, tuple(rng.uniform(0.1, 1, 3)))
        port = Port("nhwc" if i % 2 else "nchw", "uint8", scale, mean, std if i % 4 else 1.0)
        values = reals(EVERY, port)
        kind = str(rng.choice(["int8", "uint8", "int16"]))
        step = np.float32((values.max() - values.min()) / rng.choice([60, 255, 600]))
        limits = np.iinfo(kind)
        zero = np.clip(np.rint(limits.min - values.min() / step), limits.min, limits.max).astype(kind)
        found.append((port, step, zero))
    exact = (Port("nhwc", "uint8", 1 / 255), np.float32(1 / 255))
    by_channel = Port("nhwc", "uint8", 1 / 255, MEAN, STD), np.float32([0.02, 0.01, 0.03]), np.int8([3, -100, 90])
    return [*found, (*exact, np.int8(-128)), (*exact, np.uint8(0)), (*exact, np.int8(-127)), by_channel]


@pytest.mark.parametrize("target", TARGETS)
def test_every_byte_is_quantized_as_what_it_stands_for(target: str) -> None:
    drawn = drawn_ports(np.random.default_rng(3))
    inputs = [arg(f"x{i}", "float32", EVERY.shape) for i in range(len(drawn))]
    outputs = [
        Quantize()(x, constant(s), constant(z), name=f"y{i}")
        for i, (x, (_, s, z)) in enumerate(zip(inputs, drawn, strict=True))
    ]
    graph = Graph(tuple(inputs), tuple(outputs), tuple(f"out{i}" for i in range(len(drawn))))
    program = graphopt.compile(graph, target, ports={f"x{i}": port for i, (port, *_) in enumerate(drawn)})
    got = program.run(*(last(EVERY) if port.layout == "nhwc" else EVERY for port, *_ in drawn))
    want = graph(*(reals(EVERY, port) for port, *_ in drawn))
    for y, wanted, (port, scale, zero) in zip(got, want, drawn, strict=True):
        column = (1, -1, 1, 1)
        steps = np.rint(reals(EVERY, port) / scale.reshape(column)).astype(np.float64) + zero.reshape(column)
        limits = np.iinfo(zero.dtype)
        np.testing.assert_array_equal(wanted, np.clip(steps, limits.min, limits.max))
        np.testing.assert_array_equal(y, wanted, err_msg=str(port))


def net(size: int = 16) -> Graph:
    rng = np.random.default_rng(0)
    x = arg("image", "float32", (Batch(), 3, size, size))
    w = constant(rng.uniform(-1, 1, (5, 3, 3, 3)).astype(np.float32))
    b = constant(rng.uniform(-1, 1, 5).astype(np.float32))
    return Graph((x,), (Relu()(Conv(pads=(1, 1, 1, 1), strides=(2, 2))(x, w, b)),), ("y",))


def quantized(port: Port) -> Graph:
    values = reals(np.concatenate([EVERY, np.zeros_like(EVERY), np.full_like(EVERY, 255)]), port)
    return Fuse()(QuantizeModel(calibration=values)(net()))


def kernels(program: Program) -> list[str]:
    return [row["kernel"] for row in program.manifest["kernels"]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("port", "kernel", "table"),
    [
        (Port("nhwc", "uint8", 1 / 255), "flip_sign", 0),
        (Port("nhwc", "uint8", 1 / 255, 0.5, 0.25), "lookup", 256),
        (Port("nhwc", "uint8", 1 / 255, MEAN, STD), "channel_lookup", 768),
    ],
    ids=["flipped", "table", "tables"],
)
def test_a_convolution_of_pixels(target: str, port: Port, kernel: str, table: int) -> None:
    """Where the kernel of the convolution reads bytes, nothing flips them before."""
    graph = quantized(port)
    (want,) = graph(reals(EVERY, port))
    reads = target == "cortex-m4" or (kernel == "flip_sign" and target == "cortex-m0")
    for in_arena in (False, True):
        program = graphopt.compile(graph, target, ports={"image": port}, io_in_arena=in_arena)
        first = program.manifest["kernels"][0]
        if reads:
            assert first["kernel"] == "conv_3x3"
        else:
            words = kernel == "lookup" and "avx512" in get_target(target).isa  # these take two bytes a place
            assert (first["kernel"], first["weight_bytes"]) == (kernel, 2 * table if words else table)
        np.testing.assert_array_equal(program.dequantize(program.run(last(EVERY))), want)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_floats_of_pixels(target: str) -> None:
    """Bit for bit where nothing follows; the padding of a convolution is 0 after the shift, not before it."""
    port = Port("nhwc", "uint8", 1 / 255, MEAN, STD)
    x = arg("image", "float32", EVERY.shape)
    plain = graphopt.compile(Graph((x,), (Relu()(x), x), ("y", "x")), target, ports={"image": port})
    y, same = plain.run(last(EVERY))
    np.testing.assert_array_equal(same, reals(EVERY, port))
    np.testing.assert_array_equal(y, np.maximum(same, 0))
    program = graphopt.compile(Fuse()(net()), target, ports={"image": port})
    np.testing.assert_allclose(program.run(last(EVERY)), net()(reals(EVERY, port))[0], rtol=1e-5, atol=1e-5)


def test_an_input_that_is_quantized_and_read_as_it_is() -> None:
    port = Port(dtype="uint8", scale=1 / 255, mean=0.5)
    x = arg("image", "float32", EVERY.shape)
    scale, zero = constant(np.float32(0.01)), constant(np.int8(7))
    q = Quantize()(x, scale, zero)
    graph = Graph((x,), (Relu()(x), q, Dequantize()(q, scale, zero)), ("real", "integer", "rounded"))
    got = graphopt.compile(graph, "host", io="float32", ports={"image": port}).run(EVERY)
    for y, want in zip(got, graph(reals(EVERY, port)), strict=True):
        np.testing.assert_array_equal(y, want)


def test_features_without_channels() -> None:
    x = arg("x", "float32", (Batch(), 256))
    graph = Graph((x,), (Quantize()(x, constant(np.float32(0.5)), constant(np.int8(-3))),), ("y",))
    every = np.arange(256, dtype=np.uint8)[None]
    program = graphopt.compile(graph, ports={"x": Port(dtype="uint8", scale=0.25, mean=9)})
    np.testing.assert_array_equal(program.run(every), graph(every.astype(np.float32) / 4 - 9)[0])


def test_batches_sessions_and_floats(tmp_path: Path) -> None:
    port = Port("nhwc", "uint8", 1 / 255, MEAN, STD)
    program = graphopt.compile(quantized(port), "host", ports={"image": port})
    program.save(tmp_path / "out")
    program = Program.load(tmp_path / "out")
    pixels = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    many = program.run(pixels)
    with program.session() as session:
        np.testing.assert_array_equal(session.run(pixels), many)
    np.testing.assert_array_equal(program.run(image=pixels[3:4]), many[3:4])
    with pytest.raises(InvalidInput, match=r"float32.* given, uint8.* needed"):
        program.run(pixels.astype(np.float32))


def test_the_files_say_what_bytes_stand_for() -> None:
    port = Port("nhwc", "uint8", 1 / 255, MEAN, STD)
    program = graphopt.compile(Fuse()(net()), "cortex-m4", ports={"image": port})
    (known,) = program.manifest["inputs"]
    assert (known["dtype"], known["shape"]) == ("uint8", [1, 16, 16, 3])
    assert known["pixels"] == {"scale": 1 / 255, "mean": list(MEAN), "std": list(STD)}
    assert "stands for (p / 255 - mean) / std; mean 0.485, 0.456" in program.files["model.h"].decode()


@pytest.mark.parametrize(
    "pixels",
    [
        {"scale": 0, "mean": [0], "std": [1]},
        {"scale": 1, "mean": [], "std": [1]},
        {"scale": 1, "mean": [0], "std": [0]},
        {"scale": 1, "mean": [10**400], "std": [1]},
        {"scale": 1, "mean": ["x"], "std": [1]},
        {"scale": 1, "mean": [0]},
        [],
    ],
)
def test_a_manifest_with_strange_pixels(pixels: Any) -> None:
    program = graphopt.compile(net(4), ports={"image": Port(dtype="uint8")})
    manifest = {**program.manifest, "inputs": [{**program.manifest["inputs"][0], "pixels": pixels}]}
    with pytest.raises(InvalidInput, match=r"pixels|image"):
        _ = Program({**program.files, "manifest.json": json.dumps(manifest).encode()}).manifest


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("p", {}),
        ("p / 255", {"scale": 1 / 255}),
        ("p / 127.5 - 1", {"scale": 1 / 127.5, "mean": 1}),
        ("(p + 128) / 64", {"mean": -128, "std": 64}),
        ("p * 2 - mean; mean 1, 0.5", {"scale": 2, "mean": np.array([1, 0.5])}),
    ],
)
def test_formulas(formula: str, options: Mapping[str, Any]) -> None:
    assert Port(dtype="uint8", **options).formula == formula


STRANGE: list[Any] = [0, -1, float("nan"), float("inf"), 1e-45, 1e39, 10**400, True, None, "1", "abc", (), [None], {}]


@pytest.mark.parametrize("value", STRANGE, ids=repr)
def test_numbers_that_no_port_has(value: Any) -> None:
    with pytest.raises(InvalidInput, match="std of a port"):
        Port(dtype="uint8", std=value)
    if value not in (-1, 0, 1e-45):
        with pytest.raises(InvalidInput, match="mean of a port"):
            Port(dtype="uint8", mean=value)
    if value != -1:
        with pytest.raises(InvalidInput, match="scale of a port"):
            Port(dtype="uint8", scale=value)


def test_ports_that_cannot_be() -> None:
    pixels = Port(dtype="uint8")
    rows = arg("row", "float32", (1, 7))
    model = net()
    inputs = *model.inputs, rows, arg("whole", "int8", (1, 4))
    graph = Graph(inputs, (*model.outputs, Relu()(rows)), ("y", "z"))

    def refused(error: type[GraphoptError], match: str, **ports: Any) -> None:
        with pytest.raises(error, match=match):
            graphopt.compile(graph, "host", ports=ports)

    refused(InvalidInput, "no port is called 'x'\n  there are image, row", x=pixels)
    refused(InvalidInput, "port row: .* has no channels to put last", row=Port("nhwc"))
    refused(InvalidInput, "mean of port row: 3 numbers, .* channels: 1", row=Port(dtype="uint8", mean=MEAN))
    refused(InvalidInput, "std of port image: 2 numbers, .* channels: 3", image=Port(dtype="uint8", std=(1, 2)))
    refused(InvalidInput, "port whole: bytes stand for reals, .* int8", whole=pixels)
    refused(Unsupported, "port y: an output of uint8", y=Port(dtype="uint8", mean=1))
    refused(InvalidInput, "port image: .* is no Port", image="nhwc")
    with pytest.raises(InvalidInput, match="both ports and layout have image"):
        graphopt.compile(graph, "host", ports={"image": pixels}, layout={"image": "nhwc"})
    with pytest.raises(Unsupported, match="'int8' is no dtype of a port"):
        Port(dtype="int8")
    with pytest.raises(InvalidInput, match="the port takes none"):
        Port(mean=0.5)
    with pytest.raises(InvalidInput, match="'nwhc' is none of nchw, nhwc"):
        Port("nwhc")


def test_bytes_that_the_model_takes_stay_as_they_are() -> None:
    x = arg("x", "uint8", (1, 3, 4, 4))
    q = Dequantize()(x, constant(np.float32(0.5)), constant(np.uint8(3)))
    graph = Graph((x,), (q,), ("y",))
    given = EVERY[:, :, :4, :4]
    program = graphopt.compile(graph, ports={"x": Port("nhwc", "uint8")}, io="float32")
    np.testing.assert_array_equal(program.run(last(given)), graph(given)[0])
    with pytest.raises(InvalidInput, match="bytes stand for reals"):
        graphopt.compile(graph, ports={"x": Port(dtype="uint8", scale=0.5)})
