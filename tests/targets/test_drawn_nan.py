"""Drawn chains on drawn inputs, of which some are NaN or infinite: the program has what the evaluator has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from compiling import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt import compile, ops
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.passes import Fuse

SHAPE = (1, 3, 4, 4)
NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -1.5, 0.25, 2.0]
CONSTANTS = [0.0, -0.0, 1.0, -2.0, 0.5, float("inf"), float("nan")]

Step = Callable[[Value, Value], Value]
UNARY = (
    *(ops.Relu(), ops.Clip(low=0.0, high=6.0), ops.Clip(low=-1.0, high=1.0), ops.LeakyRelu(), ops.LeakyRelu(alpha=0.0)),
    *(ops.Elu(), ops.Sign(), ops.HardSigmoid(), ops.HardSwish(), ops.Sigmoid(), ops.Tanh(), ops.Softplus(), ops.Exp()),
    *(ops.Abs(), ops.Neg(), ops.Round(), ops.ThresholdedRelu(), ops.Sqrt(), ops.Softmax(axis=1)),
)
BINARY = (ops.Add(), ops.Sub(), ops.Mul(), ops.Div(), ops.Maximum(), ops.Minimum())
COMPARISONS = (ops.Less(), ops.LessOrEqual(), ops.Equal())
ENDS = (
    *(ops.ReduceMax(axes=(1, 2)), ops.ReduceMin(axes=(2, 3)), ops.ReduceSum(axes=(2, 3)), ops.ReduceMean(axes=(2, 3))),
    *(ops.MaxPool(kernel=(2, 2)), ops.MaxPool(kernel=(3, 3), pads=(1, 1, 1, 1), strides=(2, 2))),
    ops.AveragePool(kernel=(2, 2)),
    *(ops.ArgMax(axis=1), ops.ArgMin(axis=3, last=True), ops.TopK(k=2, axis=3), ops.TopK(k=3, axis=1, largest=False)),
    *(ops.Cast(to="int8"), ops.Cast(to="uint32"), ops.Cast(to="int64"), ops.Cast(to="bool")),
)


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    """Up to six steps, each on the last value, with another operand or a constant; then perhaps an end."""
    x, y = arg("x", "float32", SHAPE), arg("y", "float32", SHAPE)
    made: list[Value] = [x, y]
    for _ in range(draw(st.integers(1, 6))):
        last = made[-1]
        other = draw(st.sampled_from([*made, *(constant(np.float32(c)) for c in CONSTANTS)]))
        pair = draw(st.permutations([last, other]))
        step = draw(st.sampled_from(("unary", "binary", "select")))
        if step == "unary":
            made.append(draw(st.sampled_from(UNARY))(last))
        elif step == "binary":
            made.append(draw(st.sampled_from(BINARY))(*pair))
        else:
            test = draw(st.sampled_from(COMPARISONS))(*pair)
            made.append(ops.Where()(draw(st.sampled_from([test, ops.Not()(test)])), last, other))
    end = draw(st.sampled_from(ENDS)).apply(made[-1]).results
    return Graph((x, y), (made[-1], *end))


def arrays() -> st.SearchStrategy[Array]:
    numbers = st.lists(st.sampled_from(NUMBERS), min_size=48, max_size=48)
    return numbers.map(lambda values: np.array(values, "float32").reshape(SHAPE))


def well_conditioned(results: list[Array]) -> bool:
    """Whether no rounding error decides: infinities that overflow makes, or integers of sums of many digits."""
    return all(np.abs(y[np.isfinite(y)]).max(initial=0) < 1e4 for y in results if y.dtype.kind == "f")


def check(graph: Graph, fused: bool, target: str, x: Array, y: Array) -> None:
    """Where nothing is divided by zero: the sign of a zero, and so of such a quotient, is not promised."""
    divisors = [node.inputs[1] for node in graph.nodes if isinstance(node.op, ops.Div)]
    with np.errstate(all="ignore"):
        want = [np.asarray(a) for a in graph(x, y)]
        divided_by = Graph(graph.inputs, tuple(divisors))(x, y) if divisors else ()
    if not well_conditioned(want) or any((a == 0).any() for a in divided_by):
        return
    program = compile(Fuse()(graph) if fused else graph, target)
    (got,) = program.measure({"x": x, "y": y}, count=False).outputs
    assert_close(want, got)


@settings(max_examples=15)
@given(graph=chains(), fused=st.booleans(), x=arrays(), y=arrays())
def test_on_the_host(graph: Graph, fused: bool, x: Array, y: Array) -> None:
    check(graph, fused, "host", x, y)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", "x86-64-v2", "aarch64", "cortex-m4"])
@settings(max_examples=200)
@given(graph=chains(), fused=st.booleans(), x=arrays(), y=arrays())
def test_many(target: str, graph: Graph, fused: bool, x: Array, y: Array) -> None:
    check(graph, fused, target, x, y)
