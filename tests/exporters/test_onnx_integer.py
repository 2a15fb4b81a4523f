"""Quantized graphs as ONNX: QDQ to a step, integers to the bit, in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import run

import graphopt
from graphopt.errors import Unsupported
from graphopt.ir import Array, Graph, Op, Value, arg, constant
from graphopt.ops import (
    ConvInteger,
    ConvTransposeInteger,
    LinearInteger,
    Lookup,
    MatMulInteger,
    Maximum,
    MaxPool,
    Minimum,
    Quantize,
    ReduceMax,
    Requantize,
    Resize,
    SumPool,
    Where,
)
from graphopt.passes import InsertQuantization, LowerInteger

DTYPES = ["int8", "uint8", "int16"]


def integers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Of the whole range, its ends among them."""
    limits = np.iinfo(dtype)
    data = np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    data.flat[0], data.flat[-1] = limits.min, limits.max
    return data


def weights(*shape: int) -> Value:
    return constant(np.clip(integers("int8", shape, 1), -127, 127))


def bias(dtype: str, size: int) -> Value:
    return constant((np.arange(size) * 997 - 1000).astype("int64" if dtype == "int16" else "int32"))


def hold(op: Op, *operands: Array | Value) -> None:
    """In ONNX Runtime and in PyTorch the integers of the evaluator."""
    values = [v if isinstance(v, Value) else arg(f"x{i}", str(v.dtype), v.shape) for i, v in enumerate(operands)]
    inputs = {f"x{i}": v for i, v in enumerate(operands) if not isinstance(v, Value)}
    graph = Graph(tuple(v for v in values if v.constant is None), (op(*values),))
    (want,) = graph(**inputs)
    (got,) = run(graphopt.to_onnx(graph), inputs)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    tensor = graphopt.to_torch(graph)(**{k: torch.from_numpy(v) for k, v in inputs.items()})
    np.testing.assert_array_equal(tensor.detach().numpy(), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products(dtype: str) -> None:
    zero = {"int8": -7, "uint8": 200, "int16": -12345}[dtype]
    x = integers(dtype, (2, 4, 6, 5))
    geometry = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2), "group": 2}
    hold(ConvInteger(zero_point=zero, **geometry), x, weights(6, 2, 3, 2), bias(dtype, 6))
    hold(ConvInteger(zero_point=zero), integers(dtype, (1, 3, 7)), weights(2, 3, 3), bias(dtype, 2))
    hold(LinearInteger(zero_point=zero), x, weights(3, 5), bias(dtype, 3))
    pooled = SumPool(kernel=(3, 2), pads=(1, 0, 1, 1), strides=(2, 1), zero_point=zero)
    hold(pooled, x)
    b = integers(dtype, (4, 5, 3), 2)
    hold(MatMulInteger(a_zero_point=zero, b_zero_point=zero + 1), x, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 0, 1), (2, 3, 1, 2)])
def test_transposed_convolutions(dtype: str, pads: tuple[int, ...]) -> None:
    zero = {"int8": 5, "uint8": 3, "int16": 300}[dtype]
    op = ConvTransposeInteger(strides=(2, 3), pads=pads, output_padding=(1, 2), dilations=(2, 1), group=2)
    x = integers(dtype, (2, 4, 3, 4))
    hold(replace(op, zero_point=zero), x, weights(4, 3, 3, 4), bias(dtype, 6))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("to", DTYPES)
def test_requantisation(dtype: str, to: str) -> None:
    """The ends of the accumulator, halves, every shift; results beyond 32 bits must saturate."""
    most, least_shift = ((1 << 31) - 1, 1) if dtype == "int32" else ((1 << 46) - 1, 17)
    rng = np.random.default_rng(0)
    acc = rng.integers(-most, most, (1, 62, 40)).astype(dtype)
    acc[0, :, :4] = np.array([-most, most, 0, 1], dtype)
    multiplier = constant(rng.integers(-(1 << 31) + 1, 1 << 31, (62, 1)).astype("int32"))
    shift = constant(np.maximum(np.arange(1, 63), least_shift).astype("int32")[:, None])
    limits = np.iinfo(to)
    hold(Requantize(zero_point=3, low=limits.min, high=limits.max - 1, to=to), acc, multiplier, shift)


def test_tables_and_what_onnx_runtime_has_for_wider_integers_only() -> None:
    for dtype in ("int8", "uint8"):
        every = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
        for kind in ("int8", "int32", "float32"):
            hold(Lookup(), every, constant((np.arange(256) % 100).astype(kind)))
    for dtype in DTYPES:
        a, b = integers(dtype, (1, 2, 4, 4), 1), integers(dtype, (1, 2, 4, 4), 2)
        for op in (Maximum(), Minimum()):
            hold(op, a, b)
        hold(Where(), a > b, a, b)
        hold(ReduceMax(axes=(2, 3)), a)
        hold(MaxPool(kernel=(2, 2), pads=(1, 0, 0, 1)), a)
        hold(Resize(sizes=(8, 3)), a)


def test_sums_that_bytes_could_overflow_are_refused() -> None:
    x, k = arg("x", "int16", (1, 1 << 17)), 1 << 17
    op = LinearInteger()(x, constant(np.full((1, k), 127, "int8")), bias("int16", 1), name="dense")
    with pytest.raises(Unsupported, match="dense"):
        graphopt.to_onnx(Graph((x,), (op,)))


def quantizable() -> tuple[Graph, list[Array]]:
    """A net of convolutions, poolings, a table and a softmax, and data for it."""
    torch.manual_seed(1)
    layers = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(6, 6, 3, groups=6), torch.nn.Sigmoid()),
        *(torch.nn.MaxPool2d(2), torch.nn.ConvTranspose2d(6, 4, 2, stride=2), torch.nn.AvgPool2d(2)),
        *(torch.nn.Flatten(), torch.nn.Linear(36, 5), torch.nn.Softmax(-1)),
    )
    shape = (1, 3, 8, 8)
    graph = graphopt.trace(layers.eval(), torch.zeros(shape))
    return graph, [np.random.default_rng(s).standard_normal(shape).astype(np.float32) for s in range(4)]


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_nets(activations: str) -> None:
    """QDQ to a step at every quantize; the integer graph to the bit."""
    graph, data = quantizable()
    qdq = InsertQuantization(calibration=data, activations=activations)(graph)
    kinds = [n.op_type for n in graphopt.to_onnx(qdq).graph.node]
    assert kinds.count("QuantizeLinear") >= 8 and not {"Round", "Clip"} & set(kinds)
    name = qdq.names[qdq.inputs[0].node]
    quantized = tuple(v for n in qdq.nodes if isinstance(n.op, Quantize) for v in n.results)
    every, integer = replace(qdq, outputs=quantized, output_names=()), LowerInteger()(qdq)
    step = float(np.asarray(qdq.outputs[0].node.inputs[1].constant))
    for x in data:
        for got, want in zip(run(graphopt.to_onnx(every), {name: x}), every(x), strict=True):
            assert np.abs(got.astype(int) - want).max() <= 1
        assert np.abs(run(graphopt.to_onnx(qdq), {name: x})[0] - qdq(x)[0]).max() <= step * 1.01
        for got, want in zip(run(graphopt.to_onnx(integer), {name: x}), integer(x), strict=True):
            np.testing.assert_array_equal(got, want)
