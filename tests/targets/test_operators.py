"""Every operator of the registry, on the host and on a microcontroller, on samples that are always the same."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
import pytest
from compiling import assert_close, check_program, in_long_runs, joined, lowered_ops, sampled_graph

from graphopt import compile
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.ir import REGISTRY, Constant, Graph, Input, Op, arg, cast_floats, constant
from graphopt.ops import (
    Abs,
    Add,
    BatchNorm,
    Cast,
    Concat,
    Div,
    Greater,
    Less,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pow,
    Sub,
    Unary,
)
from graphopt.passes import optimize
from graphopt.passes.contract import random_inputs

FOUNDING = """
    abs add average_pool batch_norm clip concat conv conv_transpose div exp expand fused hard_sigmoid hard_swish
    identity leaky_relu linear matmul max_pool maximum minimum mul neg pad pow reduce_max reduce_mean reduce_sum relu
    reshape resize sigmoid silu slice softmax split sqrt sub tanh transpose
"""
TOGETHER = 12
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def test_the_founding_operators_are_lowered() -> None:
    assert set(FOUNDING.split()) <= set(lowered_ops())


GROUPS = [lowered_ops()[i : i + TOGETHER] for i in range(0, len(lowered_ops()), TOGETHER)]


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_computes_what_the_evaluator_does(names: Sequence[str], target: str) -> None:
    """Each operator in a graph of its own, all graphs of a group in one program: most of the time goes into linking."""
    graphs = {name: graph for name in names if (graph := sampled_graph(REGISTRY[name]))}
    assert list(graphs) == list(names)
    program = compile(joined(graphs.values()), target, io="float32")
    inputs = [list(random_inputs(graph, seed=1).values()) for graph in graphs.values()]
    (got,) = program.measure([x for of_one in inputs for x in of_one], count=False).outputs
    for (name, graph), arrays in zip(graphs.items(), inputs, strict=True):
        ours, got = got[: len(graph.outputs)], got[len(graph.outputs) :]
        assert_close(graph(*arrays), ours, f"{name} on {target}")


BUILT_IN = {name for name, op in REGISTRY.items() if op.__module__.startswith("graphopt.")}


@pytest.mark.parametrize("name", sorted(BUILT_IN - set(lowered_ops())))
def test_is_refused_by_name_where_it_has_no_lowering(name: str) -> None:
    graph = sampled_graph(REGISTRY[name])
    if graph is None:
        assert REGISTRY[name] in (Input, Constant)
        return
    with pytest.raises(Unsupported) as caught:
        compile(graph, "host")
    assert name in str(caught.value) or "dtype" in str(caught.value)


@pytest.mark.parametrize("target", ["host", "cortex-m4", *in_long_runs("cortex-m0")])
def test_float64(target: str) -> None:
    """Every operator in double precision, to 1e-9: a printer or a library that rounds to float32 shows."""
    names = ["conv", "sigmoid", "softmax", "max_pool", "average_pool", "exp", "tanh", "pow", "sqrt", "clip", "linear"]
    graphs = [g for n in names if (g := sampled_graph(REGISTRY[n], 1)) is not None]
    check_program(cast_floats(joined(graphs), "float64"), target)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_around_and_divide_toward_zero(dtype: str, target: str) -> None:
    """Values of up to 200 in an int8 wrap in numpy, and must in C, which computes in int."""
    x, y = arg("x", dtype, (2, 6)), arg("y", dtype, (2, 6))
    k = constant(np.array([100, 3, 1, 90, 2, 7], dtype))
    total = Add()(Mul()(x, k), Sub()(y, k)) if dtype[-2:] in ("t8", "16") else Add()(Mul()(x, y), k)
    outputs = (Div()(total, k), Maximum()(total, y), Minimum()(x, k), Concat(axis=1)(x, y), total)
    check_program(Graph((x, y), outputs), target)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_nothing_is_simplified_as_if_an_int32_never_overflowed(target: str) -> None:
    """x * 2 / 2 is not x, nor is x + 2 always greater than x, or -x of another sign."""
    most = np.iinfo(np.int32).max
    edges = constant(np.array([most, most - 1, most // 2 + 1, 5, -5, -most - 1], np.int32))
    x, two, minus = arg("x", "int32", (2, 6)), constant(np.int32(2)), constant(np.int32(-3))
    y = Mul()(x, edges)
    outputs = (
        Div()(Mul()(y, two), two),
        Div()(Mul()(y, minus), minus),
        Cast(to="int32")(Greater()(Add()(y, two), y)),
        Cast(to="int32")(Less()(Sub()(y, minus), y)),
        Cast(to="int32")(Less()(Neg()(edges), Neg()(y))),
    )
    graph = Graph((x,), outputs)
    check_program(graph, target)
    check_program(optimize(graph), target, reference=graph)


@pytest.mark.parametrize("target", ["host", "aarch64", "armv7", "cortex-m0", "cortex-m4"])
def test_what_small_machines_call_a_library_for(target: str) -> None:
    """Between 64 bit integers and floats, and their quotients: the library has calling conventions of its own."""
    x, y = arg("x", "float32", (2, 5)), arg("y", "float64", (2, 5))
    big = Mul()(x, constant(np.float32(1e6)))
    whole = {t: Cast(to=t)(big if t == "int64" else Abs()(big)) for t in ("int64", "uint64")}
    floats = [Cast(to=t)(v) for v in whole.values() for t in ("float32", "float64")]
    k = [constant(np.array([3, 1000, 7, 1 << 33, 2], t)) for t in whole]
    quotients = [op(v, d) for v, d in zip(whole.values(), k, strict=True) for op in (Div(), Mod())]
    outputs = (*floats, *whole.values(), *quotients, Cast(to="int64")(y), Cast(to="float32")(y), Div()(y, y))
    check_program(Graph((x, y), outputs), target)


def test_dtypes_without_kernels_are_refused_by_name() -> None:
    x = arg("camera", "float16", (2, 3))
    with pytest.raises(Unsupported, match="camera"):
        compile(Graph((x,), (Concat(axis=1)(x, x),)), "cortex-m4")


@pytest.mark.parametrize("op", [Div(), Mod()])
def test_a_division_of_integers_by_zero_is_refused(op: Op) -> None:
    x = arg("x", "int32", (2, 3))
    with pytest.raises(Unsupported, match="by zero"):
        compile(Graph((x,), (op(x, constant(np.int32(0))),)), "host")


def test_a_power_of_integers_is_refused() -> None:
    x = arg("x", "int32", (2, 3))
    with pytest.raises(Unsupported, match="pow of int32"):
        compile(Graph((x,), (Pow()(x, x),)), "host")


def test_tensors_without_elements_are_refused_by_name() -> None:
    x = arg("nothing", "float32", (0, 3))
    with pytest.raises(Unsupported, match="nothing"):
        compile(Graph((x,), (Add()(x, x),)), "host")


def test_a_norm_with_computed_parameters_is_refused_by_name() -> None:
    x, p = arg("x", "float32", (1, 3, 4)), arg("p", "float32", (3,))
    graph = Graph((x, p), (BatchNorm()(x, p, p, p, p, name="norm_7"),))
    with pytest.raises(Unsupported, match="norm_7"):
        compile(graph, "host")


def test_an_operator_of_a_user_is_refused_by_name_until_it_has_a_rule() -> None:
    from graphopt.targets.scalars import SCALARS, scalar_rule

    class Double(Unary, name="my-double.op"):
        def evaluate(self, *inputs):  # type: ignore[no-untyped-def]
            return inputs[0] + inputs[0]

    try:
        x = arg("x", "float32", (2, 3))
        graph = Graph((x,), (Double()(x, name="mine"),))
        with pytest.raises(Unsupported, match="mine"):
            compile(graph, "host")
        scalar_rule(Double)(lambda op, value: value + value)
        for target in ("host", "cortex-m4"):
            inputs = random_inputs(graph, 0)
            assert_close(graph(**inputs), compile(graph, target).measure(inputs, count=False).outputs[0])
        with pytest.raises(InvalidGraph, match="already"):
            scalar_rule(Double)(operator.add)
    finally:
        SCALARS.pop(Double, None)
        REGISTRY.pop("my-double.op")
