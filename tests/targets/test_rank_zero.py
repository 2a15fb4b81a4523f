"""Values without axes: as operands and as results of every operator that takes them, evaluated and compiled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from compiling import assert_close

from graphopt import compile
from graphopt.ir import REGISTRY, Array, Graph, Op, TensorType, Value, arg, constant
from graphopt.ops import (
    Add,
    ArgMax,
    ArgMin,
    Binarize,
    Cast,
    Clip,
    Dequantize,
    Div,
    Equal,
    Expand,
    Gather,
    GatherNd,
    Greater,
    Identity,
    Less,
    Lookup,
    Mod,
    Mul,
    MulInteger,
    Not,
    Pad,
    PRelu,
    Quantize,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    Relu,
    Reshape,
    ScatterNd,
    Sub,
    Tile,
    Transpose,
    Unary,
    WeightedSum,
    Where,
)
from graphopt.passes import Fuse

S = arg("s", "float32", ())
V = arg("v", "float32", (4,))
AT_TWO = arg("i", "int64", ())
B = arg("b", "int8", ())
M = arg("m", "float32", (2, 3))
DATA: dict[str, Array] = {
    "s": np.asarray(0.75, "float32"),
    "v": np.array([0.5, -2, 3, 1], "float32"),
    "i": np.asarray(2, "int64"),
    "b": np.asarray(-7, "int8"),
    "m": np.arange(6, dtype="float32").reshape(2, 3) / 4,
}


def number(value: float, dtype: str = "float32") -> Value:
    return constant(np.asarray(value, dtype))


AT = constant(np.array([2]))
TABLE = constant(np.arange(256, dtype="int8").astype("float32"))

# from what is computed to the same by numpy
CASES: dict[str, tuple[Value, Callable[..., object]]] = {
    "expand": (Expand(shape=(2, 4))(S), lambda s, v, i, b, m: np.full((2, 4), s)),
    "expand to no axes": (Expand(shape=())(S), lambda s, v, i, b, m: s),
    "reshape": (Reshape(shape=(1, 1))(S), lambda s, v, i, b, m: s.reshape(1, 1)),
    "reshape to no axes": (Reshape(shape=())(ReduceSum(axes=(0,))(V)), lambda s, v, i, b, m: v.sum()),
    "transpose": (Transpose(perm=())(S), lambda s, v, i, b, m: s),
    "pad": (Pad(pads=())(S), lambda s, v, i, b, m: s),
    "tile": (Tile(repeats=())(S), lambda s, v, i, b, m: s),
    "gather": (Gather(axis=0)(V, AT_TWO), lambda s, v, i, b, m: v[i]),
    "gather of a constant": (Gather(axis=0)(constant(DATA["v"]), AT_TWO), lambda s, v, i, b, m: v[i]),
    "gather of rows": (Gather(axis=1)(M, AT_TWO), lambda s, v, i, b, m: m[:, i]),
    "gather_nd": (GatherNd()(V, AT), lambda s, v, i, b, m: v[2]),
    "scatter_nd": (ScatterNd()(V, AT, S), lambda s, v, i, b, m: np.where(np.arange(4) == 2, s, v)),
    "scatter_nd that adds": (
        ScatterNd(reduction="add")(V, AT, S),
        lambda s, v, i, b, m: np.where(np.arange(4) == 2, v + s, v),
    ),
    "reduce over no axes": (ReduceMax(axes=())(S), lambda s, v, i, b, m: s),
    "mean over no axes": (ReduceMean(axes=(), keepdims=False)(S), lambda s, v, i, b, m: s),
    "arg_max": (ArgMax(axis=0, keepdims=False)(V), lambda s, v, i, b, m: np.argmax(v)),
    "arg_min": (ArgMin(axis=0, keepdims=False, last=True)(V), lambda s, v, i, b, m: np.argmin(v)),
    "a lookup at an arg_max": (
        Gather(axis=0)(constant(DATA["v"]), ArgMax(axis=0, keepdims=False)(V)),
        lambda s, v, i, b, m: v.max(),
    ),
    "where": (Where()(Less()(S, number(1)), V, S), lambda s, v, i, b, m: v),
    "where of scalars": (Where()(Less()(S, number(0)), S, number(5)), lambda s, v, i, b, m: np.float32(5)),
    "not": (Not()(Greater()(S, number(1))), lambda s, v, i, b, m: np.True_),
    "prelu": (PRelu()(V, S), lambda s, v, i, b, m: np.where(v < 0, s * v, v)),
    "integers": (Mod()(Sub()(AT_TWO, number(7, "int64")), number(3, "int64")), lambda s, v, i, b, m: (i - 7) % 3),
    "division": (Div()(AT_TWO, number(3, "int64")), lambda s, v, i, b, m: i // 3),
    "equal": (Equal()(AT_TWO, number(2, "int64")), lambda s, v, i, b, m: np.True_),
    "cast": (Cast(to="int8")(Mul()(S, number(-10))), lambda s, v, i, b, m: np.int8(-7)),
    "quantize": (Quantize()(S, number(0.5), number(3, "int8")), lambda s, v, i, b, m: np.int8(5)),
    "dequantize": (Dequantize()(B, number(0.5), number(3, "int8")), lambda s, v, i, b, m: np.float32(-5)),
    "lookup": (Lookup()(B, TABLE), lambda s, v, i, b, m: np.float32(121)),
    "binarize": (Binarize()(Sub()(S, number(1)), S), lambda s, v, i, b, m: -s),
    "weighted_sum": (WeightedSum(factors=(3, 2), offset=1)(B, B), lambda s, v, i, b, m: np.int32(-34)),
    "mul_integer": (MulInteger(a_zero_point=1)(B, B), lambda s, v, i, b, m: np.int32(56)),
    "fused": (Relu()(Clip(high=0.5)(Add()(S, S))), lambda s, v, i, b, m: np.float32(0.5)),
    "fused behind a reduction": (
        Relu()(Mul()(ReduceSum(axes=(0, 1), keepdims=False)(M), S)),
        lambda s, v, i, b, m: m.sum() * s,
    ),
    "identity": (Identity()(S), lambda s, v, i, b, m: s),
} | {
    f"{op.name} of all": (op(axes=(0, 1), keepdims=False)(M), lambda s, v, i, b, m, f=function: f(m))
    for op, function in (
        (ReduceSum, np.sum),
        (ReduceMean, np.mean),
        (ReduceMax, np.max),
        (ReduceMin, np.min),
        (ReduceProd, np.prod),
    )
}
INPUTS = (S, V, AT_TWO, B, M)


def wanted() -> list[Array]:
    return [np.asarray(oracle(*DATA.values()), value.type.dtype) for value, oracle in CASES.values()]


def graph() -> Graph:
    return Graph(INPUTS, tuple(value for value, _ in CASES.values()))


@pytest.mark.parametrize("name", CASES)
def test_the_evaluator(name: str) -> None:
    value, oracle = CASES[name]
    (got,) = Graph(INPUTS, (value,))(**DATA)
    assert_close([np.asarray(oracle(*DATA.values()), value.type.dtype)], [np.asarray(got)], name)


@pytest.mark.parametrize("fused", [False, True], ids=["single", "fused"])
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_programs(target: str, fused: bool) -> None:
    whole = Fuse()(graph()) if fused else graph()
    got = compile(whole, target, io="float32").measure(DATA, count=False).outputs[0]
    for name, want, data in zip(CASES, graph()(**DATA), got, strict=True):
        assert_close([np.asarray(want)], [data], name)


UNARY = [op for _, op in sorted(REGISTRY.items()) if issubclass(op, Unary) and op.__module__.startswith("graphopt")]


def test_elementwise_operators() -> None:
    """Each of them, in one program."""
    made = [op()(S) for op in UNARY if accepts(op)]
    assert len(made) > 30
    whole = Graph((S,), tuple(made))
    with np.errstate(invalid="ignore"):
        assert_close(whole(s=DATA["s"]), compile(whole).measure({"s": DATA["s"]}, count=False).outputs[0])


def accepts(op: type[Op]) -> bool:
    return op is not Identity and op().infer(TensorType("float32", ())) is not None
