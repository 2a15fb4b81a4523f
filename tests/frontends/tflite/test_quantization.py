"""What quantizes and dequantizes, weights of every type, and ports."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphopt
from frontends.tflite.building import parameters
from frontends.tflite.case import ALL, FLOAT, INT8, INT16, UINT8
from frontends.tflite.cases_of_layers import CONV
from frontends.tflite.drawing import Drawn, FileTensor, constant, draw, quantize
from frontends.tflite.oracle import Reference
from graphopt import ops
from graphopt.ir import Array, Graph
from graphopt.passes import Pipeline, PruneChannels


def floats(*shape: int, seed: int = 0, reach: float = 1.0) -> Array:
    return np.random.default_rng(seed).uniform(-reach, reach, shape).astype(np.float32)


def loaded(model: bytes, folder: Path) -> Graph:
    path = folder / "model.tflite"
    path.write_bytes(model)
    return graphopt.load(path)


def data(name: str, dtype: str, *shape: int, low: float = -2.0, high: float = 2.0) -> FileTensor:
    if dtype == FLOAT:
        return FileTensor(name, dtype, shape)
    scale, zero = parameters(dtype, low, high)
    return FileTensor(name, dtype, shape, None, [scale], [zero])


def stored(tensor: FileTensor, reals: Array) -> Array:
    return quantize(reals, np.float32(tensor.scale[0]), tensor.zero[0], tensor.dtype) if tensor.scale else reals


def reals(tensor: FileTensor, integers: Array) -> Array:
    return (integers.astype(np.float32) - tensor.zero[0]) * np.float32(tensor.scale[0]) if tensor.scale else integers


def compare(tensors: list[FileTensor], drawn: list[Drawn], folder: Path, steps: int = 1) -> Graph:
    """The graph of operators from x to y, which gives what LiteRT gives, in integers, too."""
    model = draw(tensors, drawn, ["x"], ["y"])
    x, y = (next(t for t in tensors if t.name == name) for name in "xy")
    given = stored(x, floats(*x.shape, reach=2))
    (wanted,) = Reference(model)([given])
    graph = loaded(model, folder)
    for made in (graph, graphopt.optimize(graph)):
        (found,) = made(reals(x, given))
        if y.scale:
            found = stored(y, found).astype(int)
        np.testing.assert_allclose(found, wanted, atol=steps if y.scale else 1e-5)
    return graph


@pytest.mark.parametrize(
    ("source", "target"),
    [pair for pair in itertools.product(ALL, ALL[1:]) if set(pair) != {UINT8, INT16}],  # which LiteRT does not have
)
def test_quantize(source: str, target: str, tmp_path: Path) -> None:
    tensors = [data("x", source, 1, 12), data("y", target, 1, 12, low=-1, high=3)]
    compare(tensors, [Drawn("QUANTIZE", ["x"], ["y"], {}, "QuantizeOptions")], tmp_path)


@pytest.mark.parametrize("source", (INT8, UINT8, INT16))
def test_dequantize(source: str, tmp_path: Path) -> None:
    drawn = Drawn("DEQUANTIZE", ["x"], ["y"], {}, "DequantizeOptions", version=3)
    compare([data("x", source, 1, 12), data("y", FLOAT, 1, 12)], [drawn], tmp_path)


def test_weights_of_float16_are_floats(tmp_path: Path) -> None:
    tensors = [
        data("x", FLOAT, 1, 8),
        FileTensor("half", "float16", (3, 8), floats(3, 8).astype("float16")),
        FileTensor("w", FLOAT, (3, 8)),
        data("y", FLOAT, 1, 3),
    ]
    drawn = [
        Drawn("DEQUANTIZE", ["half"], ["w"], {}, "DequantizeOptions", version=3),
        Drawn("FULLY_CONNECTED", ["x", "w", None], ["y"], {}, "FullyConnectedOptions"),
    ]
    graph = compare(tensors, drawn, tmp_path)
    assert [type(n.op) for n in graph.nodes if n.inputs] == [ops.Linear]


def fully_connected(weight: FileTensor, dtype: str = INT8) -> tuple[list[FileTensor], list[Drawn]]:
    tensors = [data("x", dtype, 2, 9), weight, data("y", dtype, 2, 4, low=-4, high=4)]
    return tensors, [Drawn("FULLY_CONNECTED", ["x", "w", None], ["y"], {}, "FullyConnectedOptions", version=4)]


def test_weights_of_int4(tmp_path: Path) -> None:
    weight = replace(constant("w", floats(4, 9), 1 / 7), dtype="int4")
    graph = compare(*fully_connected(weight), tmp_path)
    assert "compact = True" in str(graphopt.optimize(graph))


@pytest.mark.parametrize("zero", [0, 101, 255])
def test_weights_of_uint8_with_a_zero_point(zero: int, tmp_path: Path) -> None:
    weight = FileTensor("w", UINT8, (4, 9), quantize(floats(4, 9, reach=3), 1 / 127, zero, UINT8), [1 / 127], [zero])
    compare(*fully_connected(weight, UINT8), tmp_path)


def test_weights_with_the_lowest_integer(tmp_path: Path) -> None:
    """-128 is none of the integers of symmetric weights, and may stand in a file all the same."""
    weight = FileTensor("w", INT8, (4, 9), np.full((4, 9), -128), [1 / 127], [0])
    graph = compare(*fully_connected(weight), tmp_path)
    assert "linear_integer(" in str(graphopt.optimize(graph))


def test_weights_of_int16_stay_right(tmp_path: Path) -> None:
    weight = constant("w", floats(4, 9), 1 / 32767, INT16)
    tensors, drawn = fully_connected(weight)
    graph = loaded(draw(tensors, drawn, ["x"], ["y"]), tmp_path)
    x = reals(tensors[0], stored(tensors[0], floats(2, 9, reach=2)))
    wanted = stored(tensors[2], x @ reals(weight, np.asarray(weight.data)).T).astype(int)
    for made in (graph, graphopt.optimize(graph)):
        assert np.abs(stored(tensors[2], made(x)[0]) - wanted).max() <= 1


def test_floats_by_weights_of_int8(tmp_path: Path) -> None:
    """LiteRT quantizes the data for it at run time; here it stays float, which is nearer to what is meant."""
    weight = constant("w", floats(4, 9), 1 / 127)
    tensors, drawn = fully_connected(weight, FLOAT)
    graph = loaded(draw(tensors, drawn, ["x"], ["y"]), tmp_path)
    x = floats(2, 9, reach=2)
    wanted = x @ reals(weight, np.asarray(weight.data)).T
    np.testing.assert_allclose(graph(x)[0], wanted, atol=1e-5)
    np.testing.assert_allclose(graph(x)[0], Reference(draw(tensors, drawn, ["x"], ["y"]))([x])[0], atol=0.05)


@pytest.mark.parametrize("dtype", [FLOAT, INT8])
def test_a_pad_in_front_of_a_convolution_is_its_own(dtype: str, tmp_path: Path) -> None:
    x, scale = data("x", dtype, 1, 5, 6, 2), 1 / 127 if dtype == INT8 else 0.0
    tensors = [
        x,
        constant("k", np.array([[0, 0], [0, 1], [1, 1], [0, 0]], np.int32)),
        replace(x, name="p", shape=(1, 6, 8, 2)),
        constant("w", floats(3, 3, 3, 2), scale),
        constant("b", floats(3), scale and scale * x.scale[0], "int32"),
        data("y", dtype, 1, 2, 3, 3, low=-9, high=9),
    ]
    drawn = [
        Drawn("PAD", ["x", "k"], ["p"], {}, "PadOptions"),
        Drawn("CONV_2D", ["p", "w", "b"], ["y"], {**CONV, "strideH": 2, "strideW": 2, "padding": 1}, "Conv2DOptions"),
    ]
    graph = compare(tensors, drawn, tmp_path)
    assert not any(isinstance(n.op, ops.Pad) for n in graph.nodes)
    assert [n.op.pads for n in graph.nodes if isinstance(n.op, ops.Conv)] == [(0, 1, 1, 1)]


def test_quantized_ports_are_floats_that_a_program_takes_as_integers(tmp_path: Path) -> None:
    weight = constant("w", floats(3, 1, 1, 2), 1 / 127)
    x, y = data("x", INT8, 1, 4, 5, 2), data("y", INT8, 1, 4, 5, 3)
    x.signature = [-1, 4, 5, 2]
    bias = FileTensor("b", "int32", (3,), np.array([1, 2, 3]), [x.scale[0] / 127], [0])
    drawn = Drawn("CONV_2D", ["x", "w", "b"], ["y"], CONV, "Conv2DOptions")
    graph = loaded(draw([x, weight, bias, y], [drawn], ["x"], ["y"]), tmp_path)
    assert [str(v.type) for v in (*graph.inputs, *graph.outputs)] == ["float32[N, 4, 5, 2]", "float32[N, 4, 5, 3]"]
    program = graphopt.compile(graphopt.optimize(graph), "cortex-m4")
    port = program.manifest["inputs"][0]
    assert (port["dtype"], port["shape"], port["zero_point"]) == ("int8", [1, 4, 5, 2], x.zero[0])
    assert port["scale"] == pytest.approx(x.scale[0])


def test_channels_of_quantized_layers_can_go(tmp_path: Path) -> None:
    """With their weights, scales and biases; the contract compares with a graph that reads zeros there."""
    x, v, y = (data(name, INT8, 1, 4, 5, c, low=-4, high=4) for name, c in (("x", 2), ("v", 8), ("y", 3)))
    first = quantize(floats(8, 1, 1, 2), scales := np.linspace(0.5, 1, 8).reshape(-1, 1, 1, 1) / 127, 0, INT8)
    tensors = [
        *(x, v, y),
        FileTensor("w", INT8, first.shape, first, scales.reshape(-1).tolist(), [0] * 8),
        FileTensor("b", "int32", (8,), np.arange(8), (scales.reshape(-1) * x.scale[0]).tolist(), [0] * 8),
        constant("k", floats(3, 3, 3, 8), 1 / 127),
        constant("d", floats(3), v.scale[0] / 127, "int32"),
    ]
    drawn = [
        Drawn("CONV_2D", ["x", "w", "b"], ["v"], CONV, "Conv2DOptions"),
        Drawn("CONV_2D", ["v", "k", "d"], ["y"], CONV, "Conv2DOptions"),
    ]
    graph = compare(tensors, drawn, tmp_path, steps=2)
    small = Pipeline([PruneChannels(ratio=0.5)], check=True)(graph)
    assert [n.types[0].shape[1] for n in small.nodes if isinstance(n.op, ops.Conv)] == [4, 3]
    assert "conv_integer" in str(graphopt.optimize(small))
