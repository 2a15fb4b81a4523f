"""Integer layer norm and softmax, and whatever reduces rows of integers, are one kernel each, exact on every target."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from compiling import NATIVE, in_long_runs, joined
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
from graphopt import compile
from graphopt.ir import Array, Graph, Value, arg, constant, evaluate
from graphopt.ops import (
    Add,
    Cast,
    Clip,
    ConvInteger,
    Dequantize,
    Div,
    IntegerSqrt,
    LayerNorm,
    Lookup,
    Maximum,
    Minimum,
    Mul,
    Quantize,
    ReduceMax,
    ReduceMin,
    ReduceSum,
    Requantize,
    Softmax,
    Sub,
    WeightedSum,
)
from graphopt.passes import Fuse, LowerInteger, Pipeline
from graphopt.passes import Quantize as QuantizeModel
from graphopt.rewrite import Decline
from graphopt.targets.row_chain import MOST, RowChain, proof_of

TARGETS = [*NATIVE, *in_long_runs("aarch64", "armv7")]
SHAPES = [(3, 2), (2, 3, 7), (1, 2, 3, 16), (5, 17), (2, 64), (1, 2, 3, 197), (2, 769)]


def real(x: Value, scale: float, zero_point: int) -> Value:
    return Dequantize()(x, constant(np.float32(scale)), constant(np.int8(zero_point)))


def integers(y: Value, scale: float, zero_point: int) -> Value:
    return Quantize()(y, constant(np.float32(scale)), constant(np.int8(zero_point)))


def lowered(*outputs: Value) -> Graph:
    (x,) = {n.results[0] for n in Graph((), outputs).nodes if n.op.name == "input"}
    return Pipeline([LowerInteger(), Fuse()])(Graph((x,), outputs))


def softmax(shape: tuple[int, ...], rng: np.random.Generator, result: float = 1 / 256) -> Graph:
    x = arg("x", "int8", shape)
    zero_points = rng.integers(-128, 128, 2)
    y = Softmax(axis=-1)(real(x, float(rng.choice([0.002, 0.05, 0.4])), zero_points[0]))
    return lowered(integers(y, result, zero_points[1]))


def layer_norm(shape: tuple[int, ...], rng: np.random.Generator, inner: int = 1) -> Graph:
    x = arg("x", "int8", shape)
    scale, bias = (constant(rng.normal(at, 0.3, shape[-inner:]).astype(np.float32)) for at in (1, 0))
    zero_points = rng.integers(-128, 128, 2)
    y = LayerNorm(epsilon=float(rng.choice([1e-5, 1e-2])))(real(x, 0.03, zero_points[0]), scale, bias)
    return lowered(integers(y, 0.02, zero_points[1]))


def rows_of(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Drawn rows; of some all elements are equal, or they are the ends of int8."""
    x = rng.integers(-128, 128, shape).astype(np.int8)
    rows = x.reshape(-1, shape[-1])
    rows[0] = rng.choice(np.array([-128, 127], np.int8))
    rows[-1] = rng.choice(np.array([-128, 127], np.int8), shape[-1])
    return x


def kernels_of(graph: Graph, target: str, *data: Array) -> list[str]:
    """The rules of the kernels of a program, whose results are exactly those of the evaluator."""
    program = compile(graph, target)
    got = program.run(*data)
    for y, wanted in zip(got if isinstance(got, tuple | list) else [got], graph(*data), strict=True):
        assert (y == wanted).all(), target
    return [row["rule"].split()[0].rpartition(".")[2] for row in program.manifest["kernels"]]


def by_rows(graphs: list[Graph], target: str, rng: np.random.Generator) -> bool:
    """Whether each of some graphs is one kernel."""
    data = [rows_of(g.inputs[0].type.static_shape, rng) for g in graphs]
    return kernels_of(joined(graphs), target, *data) == ["row_chain"] * len(graphs)


@pytest.mark.parametrize("target", TARGETS)
def test_one_kernel(target: str) -> None:
    """For layers over rows of any size; over several axes; and with a result whose scale needs a table of its own."""
    rng = np.random.default_rng(0)
    graphs = [make(shape, rng) for shape in SHAPES for make in (softmax, layer_norm)]
    assert by_rows([*graphs, layer_norm((2, 3, 4, 9), rng, inner=2), softmax((4, 37), rng, result=0.0045)], target, rng)


def number(value: int, dtype: str = "int64") -> Value:
    return constant(np.asarray(value, dtype))


def wide(x: Value) -> Value:
    return Cast(to="int64")(x)


def quotients(shape: tuple[int, ...], bits: int) -> Graph:
    x = arg("x", "int32", shape)
    least = ReduceMin(axes=(1,))(Maximum()(x, number(1, "int32")))
    return Fuse()(Graph((x,), (Div()(Mul()(wide(x), number(1 << bits)), wide(least)),)))


@pytest.mark.parametrize("target", TARGETS)
def test_quotients_are_truncated(target: str) -> None:
    """Of dividends up to 2^31, 2^49 and 2^52, of which many are, or just miss, multiples."""
    rng, shape = np.random.default_rng(3), (64, 23)
    x = rng.integers(-(1 << 31), 1 << 31, shape)
    x[:, :1] = np.abs(x[:, :1]) >> rng.integers(0, 31, (64, 1))
    x[:, 1:9] = np.clip(x[:, :1] * rng.integers(-9, 9, (64, 8)) + rng.integers(-1, 2, (64, 8)), -(1 << 31), 1 << 30)
    data = x.astype(np.int32)
    graphs = [quotients(shape, bits) for bits in (0, 18, 21)]
    assert kernels_of(joined(graphs), target, *[data] * 3) == ["row_chain"] * 3
    assert "row_chain" not in kernels_of(quotients((2, 3), 23), target, data[:2, :3])


def test_what_others_read_stays_apart() -> None:
    rng, shape = np.random.default_rng(2), (1, 6, 5, 8)
    x, data = arg("x", "int8", shape), rows_of(shape, rng)
    centred = Sub()(WeightedSum(factors=(8,))(x), ReduceSum(axes=(3,))(WeightedSum(factors=(1,))(x)))
    power = ReduceSum(axes=(3,))(Mul()(centred, centred))
    scaled = Div()(Mul()(centred, number(1 << 8, "int32")), Maximum()(power, number(1, "int32")))
    for also, count in (((), 1), ((centred,), 2), ((power,), 3)):
        assert len(kernels_of(Fuse()(Graph((x,), (scaled, *also))), "host", data)) >= count


def test_layouts() -> None:
    """What a convolution reads with its channels last, rows along any axis of it."""
    rng, shape = np.random.default_rng(4), (1, 6, 5, 8)
    weight = rng.integers(-99, 99, (6, 6, 1, 1)).astype(np.int8)
    x, data = arg("x", "int8", shape), rows_of(shape, rng)
    ends = []
    for axis in (1, 2, 3):
        y = integers(Softmax(axis=axis)(real(x, 0.1, 3)), 1 / 256, -128)
        sums = ConvInteger(zero_point=-128)(y, constant(weight), constant(np.zeros(6, np.int32)))
        ends.append(Requantize()(sums, number(1 << 30, "int32"), number(39, "int32")))
    kernels_of(lowered(*ends), "host", data)


BINARY = (Add, Sub, Mul, Maximum, Minimum, Div)


@st.composite
def chains(draw: st.DrawFn) -> RowChain:
    """Drawn operators along rows of int8, in int64: the last of them reads a reduction."""
    x = arg("x", "int8", (3, draw(st.integers(2, 20))))
    table = constant(np.random.default_rng(draw(st.integers(0, 9))).integers(-99, 99, 256).astype(np.int32))
    values, numbers = [wide(x), wide(Lookup()(x, table))], [number(draw(st.integers(1, 99)))]
    for _ in range(draw(st.integers(2, 8))):
        a, b = (draw(st.sampled_from(values)) for _ in "ab")
        reduce = draw(st.sampled_from([ReduceSum, ReduceMax, ReduceMin]))
        numbers.append(reduce(axes=(1,))(a))
        numbers.append(Maximum()(numbers[-1], number(draw(st.integers(0, 3)))))
        values.append(draw(st.sampled_from(BINARY))()(a, draw(st.sampled_from([b, *numbers]))))
        values.append(Clip(low=-1e6, high=draw(st.sampled_from([7.0, 1e9])))(values[-1]))
        values.append(IntegerSqrt()(Mul()(values[-1], values[-1])))
    result = Add()(values[draw(st.integers(0, len(values) - 1))], numbers[-1])
    return RowChain(axes=(1,), body=Graph((x,), (result,), name="body"))


@settings(max_examples=40)
@given(chains(), st.integers(0, 99))
def test_intervals_hold(chain: RowChain, seed: int) -> None:
    try:
        proof = proof_of(chain)
    except Decline:
        return
    (x,) = chain.body.inputs
    data = rows_of(x.type.static_shape, np.random.default_rng(seed))
    divisors = tuple(n.inputs[1] for n in proof.compute if isinstance(n.op, Div))
    values = tuple(n.results[0] for n in proof.compute)
    if any((y == 0).any() for y in evaluate(Graph((x,), divisors), (data,))):
        return  # that has no value
    for value, y in zip(values, evaluate(Graph((x,), values), (data,)), strict=True):
        low, high = proof.intervals[value]
        assert low <= y.min() and y.max() <= high
        assert not proof.along(value) or max(abs(low), abs(high)) <= MOST[proof.dtype(value)]


@pytest.mark.parametrize("target", [NATIVE[0], NATIVE[-1], *in_long_runs("x86-64-v3", "aarch64", "armv7")])
@settings(max_examples=5)
@given(st.data())
def test_drawn_chains(target: str, data: st.DataObject) -> None:
    chain = data.draw(chains())
    (x,) = chain.body.inputs
    given_x = rows_of(x.type.static_shape, np.random.default_rng(data.draw(st.integers(0, 99))))
    divisors = tuple(n.inputs[1] for n in chain.body.nodes if isinstance(n.op, Div))
    if not any((y == 0).any() for y in evaluate(Graph((x,), divisors), (given_x,))):
        kernels_of(Fuse()(chain.body), target, given_x)


def test_a_transformer_block_has_no_casts_of_its_own() -> None:
    """Layer norms and softmax are a kernel each. Casts are those of the ports; what is requantized alone is a key that
    is scaled, and a sum of what was moved."""
    torch.manual_seed(0)
    block = torch.nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    x = torch.randn(1, 9, 32)
    graph = graphopt.trace(block, (x,), dynamic_batch=False)
    batches = [{graph.names[graph.inputs[0].node]: torch.randn(1, 9, 32).numpy()} for _ in range(4)]
    whole = QuantizeModel(calibration=batches)(graphopt.optimize(graph))
    program = compile(Fuse()(whole), "host", io="float32")
    names = Counter(row["kernel"].rstrip("0123456789_") for row in program.manifest["kernels"])
    assert names == {"row_chain": 3, "linear": 4, "matmul": 2, "rearrange": 2, "requantize": 2, "cast": 1, "mul": 1}
