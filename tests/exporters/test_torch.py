"""What is turned into a torch module computes the same, has the right gradients, and comes back with its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import graphopt
from graphopt.exporters.torch import rules
from graphopt.exporters.torch.module import TorchGraph
from graphopt.ir import (
    REGISTRY,
    Array,
    Batch,
    Graph,
    Op,
    TensorType,
    arg,
    bind_batch,
    cast_floats,
    constant,
    worst_difference,
)
from graphopt.ops import (
    Add,
    ArgMax,
    ArgMin,
    AveragePool,
    Binary,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    Cast,
    Clip,
    Concat,
    Conv,
    ConvInteger,
    ConvTranspose,
    CumProd,
    CumSum,
    Div,
    Elu,
    Equal,
    Gelu,
    Greater,
    IsInf,
    IsNan,
    Less,
    Linear,
    LinearInteger,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mish,
    Mod,
    Mul,
    Neg,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    Relu,
    Round,
    ShiftLeft,
    ShiftRight,
    Sigmoid,
    Sign,
    Silu,
    Softmax,
    Softplus,
    Sub,
    Swish,
    Tanh,
    TopK,
    TopKIndices,
    Transpose,
)
from graphopt.passes import optimize
from graphopt.passes.contract import FLOAT64_BOUND, random_inputs
from graphopt.passes.quantize import InsertQuantization, Quantize
from graphopt.testing import random_graph
from graphopt.testing.strategies import graphs

BUILT_IN = sorted(n for n, op in REGISTRY.items() if op.__module__.startswith("graphopt.ops"))
FLOAT32_BOUND = 1e-4
assert rules  # which registers them


def hold(graph: Graph, bound: float, seed: int = 0, batches: tuple[int, ...] = (1, 3)) -> None:
    """One module for all batches, each output of the evaluator's dtype and shape, integers and bools identical."""
    module = graphopt.to_torch(graph)
    for batch in batches:
        bound_graph = bind_batch(graph, batch)
        inputs = random_inputs(bound_graph, seed)
        with np.errstate(all="ignore"):
            wanted = bound_graph(**inputs)
        for name, want, got in zip(graph.output_names, wanted, module.evaluate(inputs), strict=True):
            assert (got.dtype, got.shape) == (want.dtype, want.shape), name
            # 1e-6 for outputs that cancel to nothing in float32
            noise = 0.0 if want.dtype.kind != "f" else 1e-12 if want.dtype == np.float64 else 1e-6
            finite = np.abs(want[np.isfinite(want)].astype(np.float64))
            allowed = noise and bound + noise / (finite.max(initial=0.0) or 1.0)
            assert worst_difference(got, want) <= allowed, name


@settings(max_examples=150)
@given(graph=graphs(dtype="float64"))
def test_drawn_graphs_in_float64(graph: Graph) -> None:
    hold(graph, FLOAT64_BOUND)


@given(graph=graphs())
def test_drawn_graphs_in_float32(graph: Graph) -> None:
    hold(graph, FLOAT32_BOUND)


@given(graph=graphs(dtype="float64"))
def test_optimized_graphs(graph: Graph) -> None:
    hold(optimize(graph), FLOAT64_BOUND)


@pytest.mark.slow
@settings(max_examples=2000)
@given(graph=graphs(max_ops=12, dtype="float64"))
def test_many_drawn_graphs(graph: Graph) -> None:
    hold(graph, FLOAT64_BOUND)


def drawn(name: str, count: int) -> Iterator[tuple[int, Graph]]:
    """Graphs in float64 that have the operator, drawn of nothing else."""
    found = 0
    for seed in range(200):
        graph = random_graph(seed, max_ops=2, ops=[name], dtype="float64")
        if any(n.op.name == name for n in graph.nodes):
            yield seed, graph
            found += 1
        if found == count:
            return
    assert found, name


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_operator(name: str) -> None:
    for seed, graph in drawn(name, 20):
        hold(graph, FLOAT64_BOUND, seed)


@pytest.mark.parametrize("name", [n for n in BUILT_IN if n not in ("quantize", "dequantize", "binarize")])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """Of inputs and parameters. Quantisation, whose gradient is not that of its function, has tests of its own."""
    checked = 0
    for seed, graph in drawn(name, 4):
        module = graphopt.to_torch(graph)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():  # ones and zeros are where functions have kinks
            for p in module.parameters():
                p += 0.05 * torch.rand(p.shape, generator=generator, dtype=p.dtype)
        inputs = [torch.from_numpy(a).requires_grad_() for a in random_inputs(bind_batch(graph, 2), seed).values()]

        def smooth(*tensors: torch.Tensor, module: TorchGraph = module, count: int = len(inputs)) -> list[torch.Tensor]:
            outputs = module(*tensors[:count])
            computed = zip(
                outputs if isinstance(outputs, tuple) else (outputs,), module.plan.graph.outputs, strict=True
            )
            return [y for y, value in computed if y.requires_grad and value.node.inputs]

        if smooth(*inputs):
            assert torch.autograd.gradcheck(smooth, (*inputs, *module.parameters()), fast_mode=True)
            checked += 1
    assert bool(checked) == (name not in FLAT)


FLAT = {
    *("and", "or", "xor", "not", "equal", "less", "less_or_equal", "greater", "greater_or_equal", "is_inf", "is_nan"),
    *("arg_max", "arg_min", "top_k_indices", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "cast", "mod"),
    *("shift_left", "shift_right", "conv_integer", "conv_transpose_integer", "linear_integer", "matmul_integer"),
    *("requantize", "sum_pool", "flip_sign"),
    *("integer_sqrt", "mul_integer", "weighted_sum"),
    *("lstm_sequence_integer", "gru_sequence_integer", "rnn_sequence_integer"),
    *("pack_signs", "conv_xnor"),
}
"""The operators between floats and something else, whose derivative is zero wherever it exists."""


def test_scattered_gradients_reach_the_update_that_won() -> None:
    x, updates = (arg(n, "float64", (3, 2)) for n in ("x", "updates"))
    at = constant(np.array([[0, -1], [0, 2], [1, 2]]))
    graph = Graph((x, updates), (REGISTRY["scatter_elements"](axis=0)(x, at, updates),))
    given_ = [torch.zeros(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    graphopt.to_torch(graph)(*given_).sum().backward()
    np.testing.assert_array_equal(given_[0].grad, [[0, 1], [0, 1], [1, 0]])
    np.testing.assert_array_equal(given_[1].grad, [[0, 0], [1, 0], [1, 1]])


def hold_on(op: Op, *arrays: Array, bound: float = 0.0) -> None:
    """An operator on these arrays, held element by element."""
    values = [arg(f"x{i}", str(a.dtype), a.shape) for i, a in enumerate(arrays)]
    graph = Graph(tuple(values), op.apply(*values).results)
    with np.errstate(all="ignore"):
        wanted = graph(*arrays)
    for want, got in zip(wanted, graphopt.to_torch(graph).evaluate(arrays), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=bound)


def test_ties_are_taken_in_order() -> None:
    x = np.random.default_rng(0).integers(0, 3, (4, 100)).astype(np.float64)
    for largest in (False, True):
        hold_on(TopK(k=60, axis=1, largest=largest), x)
        hold_on(TopKIndices(k=60, axis=0, largest=largest), x.T.copy())
    for last in (False, True):
        hold_on(ArgMax(axis=1, last=last), x)
        hold_on(ArgMin(axis=1, last=last), x)


def test_reductions_over_no_axes_change_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    for kind in (ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum):
        for keepdims in (False, True):
            hold_on(kind(axes=(), keepdims=keepdims), x)


def test_far_from_zero_and_beyond_numbers() -> None:
    x = np.array([-800, -50.0, -20, 20.0, 21, 30, 800])
    for op in (Softplus(), Mish(), Sigmoid(), Silu(), Tanh(), Gelu(), Elu(), Swish(alpha=2.0), Softmax(axis=0)):
        hold_on(op, x, bound=1e-12)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -1.5])
    for op in (Sign(), Relu(), Clip(low=-1.0, high=1.0), Maximum(), Minimum(), IsNan(), IsInf(negative=False), Round()):
        hold_on(op, *([odd, odd[::-1].copy()] if isinstance(op, Binary) else [odd]))


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"]


def extremes(dtype: str, shape: tuple[int, ...], seed: int) -> Array:
    """Integers of the whole range, the ends of it among them."""
    limits, rng = np.iinfo(dtype), np.random.default_rng(seed)
    data = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    data.reshape(-1)[: 2 * seed : 2] = limits.min
    data.reshape(-1)[1 : 2 * seed : 2] = limits.max
    return data


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_products_are_exact(dtype: str) -> None:
    for seed in range(4):
        x, w, b = extremes(dtype, (2, 4, 6, 5), seed), extremes(dtype, (6, 2, 3, 2), seed), extremes(dtype, (6,), seed)
        hold_on(Conv(group=2, strides=(2, 1), pads=(1, 0, 2, 1)), x, w, b)
        t = extremes(dtype, (4, 3, 3, 2), seed)
        hold_on(ConvTranspose(group=2, strides=(2, 1), pads=(1, 0, 0, 1), output_padding=(1, 2)), x, t, b)
        hold_on(Linear(), x, extremes(dtype, (3, 5), seed), extremes(dtype, (3,), seed))
        hold_on(MatMul(), x, extremes(dtype, (4, 5, 7), seed))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("size", [3, 48])
def test_quantized_products_are_exact(dtype: str, size: int) -> None:
    """Of few channels in float32, and of as many as would not be exact there in float64."""
    wide, zero = ("int64", -32768) if dtype == "int16" else ("int32", int(np.iinfo(dtype).min))
    for seed in range(2):
        x, w = extremes(dtype, (2, size, 20, 20), seed), extremes("int8", (8, size, 3, 3), seed)
        b = extremes("int16", (8,), seed).astype(wide)
        w[0], x[0] = 127, np.iinfo(dtype).max  # the largest sum
        hold_on(ConvInteger(zero_point=zero, pads=(1, 1, 1, 1)), x, w, b)
        with torch.autocast("cpu", torch.bfloat16):
            hold_on(ConvInteger(zero_point=zero, pads=(1, 1, 1, 1)), x, w, b)
        hold_on(LinearInteger(zero_point=zero), x[:, 0], extremes("int8", (8, 20), seed), b)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_arithmetic_is_exact(dtype: str) -> None:
    a, b = extremes(dtype, (3, 8), 1), extremes(dtype, (8,), 2)
    b = np.where(b == 0, 1, b).astype(dtype)
    shift = np.arange(8).astype(dtype) % np.iinfo(dtype).bits
    binary: list[Op] = [Add(), Sub(), Mul(), Div(), Mod(), Mod(fmod=True), Minimum(), Maximum(), Equal(), Less()]
    for op in [*binary, Greater(), BitwiseAnd(), BitwiseOr(), BitwiseXor()]:
        hold_on(op, a, b)
    for op in (ShiftLeft(), ShiftRight()):
        hold_on(op, a, shift)
    unary: list[Op] = [BitwiseNot(), Neg(), Clip(low=-3.0, high=100.0), Pad(pads=(1, 0, 0, 2), value=7.0)]
    reductions: list[Op] = [ReduceSum(axes=(1,)), ReduceProd(axes=(0, 1)), ReduceMax(axes=(0,)), CumSum(axis=1)]
    for op in [*unary, *reductions, CumProd(axis=0), Transpose(perm=(1, 0))]:
        hold_on(op, a)
    for to in [*INTEGERS, "bool", "float32", "float64"]:
        hold_on(Cast(to=to), a)
    hold_on(Concat(axis=0), a, a)
    with pytest.raises(graphopt.GraphoptError, match="of uint64"):
        hold_on(Cast(to="uint64"), a)


def test_the_quotient_that_does_not_fit_wraps() -> None:
    for dtype in ("int32", "int64"):
        low = np.full((16,), np.iinfo(dtype).min, dtype)
        hold_on(Div(), low, np.full((16,), -1, dtype))


@pytest.mark.parametrize("rank", [1, 3])
def test_windows_of_other_ranks(rank: int) -> None:
    rng = np.random.default_rng(rank)
    x = arg("x", "float64", (2, 4, *[7] * rank))
    kernel = (3,) * rank
    window = {"strides": (2,) * rank, "pads": (1, 0, 2, 0, 2, 1)[: 2 * rank], "dilations": (2,) * rank}
    weight, bias = constant(rng.standard_normal((4, 2, *kernel))), constant(rng.standard_normal(4))
    hold(Graph((x,), (Conv(group=2, **window)(x, weight, bias),)), FLOAT64_BOUND)
    hold(Graph((x,), (ConvTranspose(group=2, **window)(x, weight, bias),)), FLOAT64_BOUND)
    for pool in (MaxPool(kernel=kernel, **window), AveragePool(kernel=kernel, count_include_pad=rank == 1, **window)):
        hold(Graph((x,), (pool(x),)), FLOAT64_BOUND)


@pytest.mark.parametrize("file", ["kws", "ic_resnet8", "vww", "ad"])
def test_mlperf_tiny(file: str, shared: Path) -> None:
    (path,) = (shared / "models" / "mlperf_tiny").glob(f"{file}*.onnx")
    graph = graphopt.load(path)
    assert graph.is_symbolic
    hold(graph, 1e-5)
    hold(cast_floats(graph, "float64"), FLOAT64_BOUND, batches=(2,))


def test_a_quantized_net_is_the_same_bit_for_bit_and_its_real_form_has_gradients(shared: Path) -> None:
    (path,) = (shared / "models" / "mlperf_tiny").glob("kws*.onnx")
    graph = optimize(graphopt.load(path))
    with np.load(shared / "data" / "kws.npz") as data:
        x = data["x"][:12]
    for quantization in (Quantize(calibration=[x]), InsertQuantization(calibration=[x])):
        small = quantization(graph)
        np.testing.assert_array_equal(graphopt.to_torch(small).evaluate([x])[0], small(x)[0])
    module = graphopt.to_torch(small)
    module(torch.from_numpy(x)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters() if p.ndim == 4)


def test_types_are_checked_at_the_door() -> None:
    x = arg("x", "float32", (Batch(2), 3))
    graph = Graph((x,), (Neg()(x),))
    module = graphopt.to_torch(graph)
    assert module(torch.ones(4, 3)).shape == (4, 3)
    for wrong in (torch.ones(3, 3), torch.ones(4, 2), torch.ones(4, 3, dtype=torch.float64), torch.ones(4)):
        with pytest.raises(graphopt.GraphoptError, match=r"float32\[2\*N, 3\] needed"):
            module(wrong)
    with pytest.raises(graphopt.GraphoptError, match="do not match"):
        module(y=torch.ones(4, 3))


def test_what_torch_lacks_is_listed() -> None:
    class Alien(Op, name="alien"):
        def infer(self, *inputs: TensorType) -> TensorType:
            return inputs[0]

    try:
        x = arg("x", "float32", (2,))
        with pytest.raises(graphopt.GraphoptError, match=r"a \(alien\), b \(alien\)"):
            graphopt.to_torch(Graph((x,), (Alien()(Alien()(x, name="a"), name="b"),)))
    finally:
        del REGISTRY["alien"]
