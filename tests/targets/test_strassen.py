"""Strassen's product: its scheme is exact, sizes and strips of all kinds, its error, and where a NaN goes."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE, Weights, check_program, in_long_runs

import graphopt
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import Add, Gelu, Linear, Relu
from graphopt.passes import Fuse
from graphopt.targets.kernels import strassen

X86 = [name for name in NATIVE if name.startswith("x86")]
TARGETS = [X86[-1], *in_long_runs(*X86[:-1])]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for few rows and a small depth, in strips of few tiles."""
    monkeypatch.setattr(strassen, "LEAST_ROWS", {})
    monkeypatch.setattr(strassen, "LEAST_DEPTH", 0)
    monkeypatch.setattr(strassen, "STRIP_BYTES", 1)


def quarters(matrix: Array) -> list[Array]:
    return [part for rows in np.split(matrix, 2) for part in np.split(rows, 2, axis=1)]


def test_seven_products_give_the_quarters_of_a_product() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 10, (2, 6, 6))
    stored = [strassen.signed(signs, quarters(b).__getitem__) for signs in strassen.WEIGHTS]
    sums = [np.zeros((3, 3), int) for _ in range(4)]
    for step in strassen.STEPS:
        product = strassen.signed(step.rows, quarters(a).__getitem__)
        product = product @ strassen.signed(step.weights, stored.__getitem__)
        for end in step.end:
            sums[end] = sums[end if step.begin is None else step.begin] + product
    assert all(np.array_equal(got, want) for got, want in zip(sums, quarters(a @ b), strict=True))


def layer(g: Weights, x: Value, columns: int) -> Value:
    return Linear()(x, g.w(columns, x.type.static_shape[-1]), g.w(columns))


def rules(graph: Graph, target: str) -> list[str]:
    program = check_program(Fuse()(graph), target)
    return [row["rule"].split()[0].rsplit(".", 1)[-1] for row in program.manifest["kernels"] if row["macs"]]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("target", TARGETS)
def test_any_rows_depth_and_what_is_behind(target: str) -> None:
    """A pair without a lower row, leading axes, several strips, an odd half of the depth, a residual, a function."""
    g = Weights()
    shapes = [(9, 6), (3, 2, 20), (2, 2, 26, 34), (141, 2)]
    results = [layer(g, g.x(*shape), 64 * (1 + i % 2)) for i, shape in enumerate(shapes)]
    results[1] = Add()(Relu()(results[1]), g.x(*results[1].type.static_shape))
    results[3] = Gelu()(results[3])
    assert rules(g.graph(*results), target) == ["linear_by_strassen"] * len(shapes)


@pytest.mark.usefixtures("always")
def test_a_residual_in_place() -> None:
    """The result lies over what is added to it: each of its elements is read once, before it is written."""
    g = Weights()
    x = Relu()(g.x(63, 64))
    assert rules(g.graph(Add()(layer(g, Relu()(layer(g, x, 64)), 64), x)), X86[-1]) == ["linear_by_strassen"] * 2


def declined(graph: Graph) -> str:
    (row,) = graphopt.compile(graph, X86[-1]).manifest["kernels"]
    return " ".join(row["others"])


def test_what_has_no_halves_goes_another_way() -> None:
    g = Weights()
    assert "fewer than" in declined(g.graph(layer(g, g.x(20, 128), 64)))
    assert "too short" in declined(g.graph(layer(g, g.x(200, 64), 64)))
    for shape, columns in (((200, 129), 64), ((200, 128), 72)):
        assert "have no halves" in declined(g.graph(layer(g, g.x(*shape), columns)))
    assert "rows of two" in declined(g.graph(layer(g, g.x(2, 101, 128), 64)))


def product(x: Array) -> tuple[Array, Array]:
    """The product of rows and some weights by the program for x86, and in float64."""
    rng = np.random.default_rng(1)
    weight = (rng.standard_normal((128, x.shape[1])) / x.shape[1] ** 0.5).astype(np.float32)
    bias = np.zeros(128, np.float32)
    graph = Graph((arg("x", "float32", x.shape),), ())
    graph = Graph(graph.inputs, (Linear()(graph.inputs[0], constant(weight), constant(bias)),))
    program = graphopt.compile(graph, X86[-1])
    assert program.manifest["kernels"][0]["kernel"] == "linear_strassen"
    result = program.run(x)
    assert isinstance(result, np.ndarray)
    return result, x.astype(np.float64) @ weight.T.astype(np.float64)


def test_the_error_of_a_deep_product() -> None:
    """Random signs: the largest error of the direct form is 1.7e-6 of the largest result."""
    x = np.random.default_rng(0).standard_normal((130, 1024)).astype(np.float32)
    got, want = product(x)
    assert np.abs(got - want).max() < 3e-6 * np.abs(want).max()


def test_a_nan_reaches_at_most_the_row_beside_it() -> None:
    x = np.ones((128, 128), np.float32)
    x[7, 3], x[96, 120] = np.nan, np.inf
    got, want = product(x)
    assert not np.isfinite(got[[7, 96]]).any()
    others = np.delete(np.arange(128), [6, 7, 96, 97])
    assert np.abs(got[others] - want[others]).max() < 1e-5
