"""Masks in front of softmax: infinite or absurdly low, constant, computed or given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import graphopt
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, Value, arg, constant
from graphopt.ops import Add, Div, Linear, MatMul, Mul, ReduceMax, Reshape, Softmax, Sqrt, Sub, Where
from graphopt.passes import Fuse, Quantize, analyze_quantization
from graphopt.passes.contract import signal_to_noise

STEP = 1 / 256
"""Of the weights of attention."""


class Causal(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        attended: torch.Tensor = self.out(scaled_dot_product_attention(q, k, v, is_causal=True))
        return attended


class Filled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        filled: torch.Tensor = self.b(torch.softmax(self.a(x).masked_fill(x < 0, float("-inf")), -1))
        return filled


class Masked(torch.nn.Module):
    """As torch has it, a row that is masked throughout attends to nothing, for which it asks what is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        attended: torch.Tensor = self.out(scaled_dot_product_attention(q, k, v, attn_mask=mask))
        return attended


def samples(*shape: int) -> list[Array]:
    return [np.random.default_rng(i).standard_normal((4, *shape)).astype("float32") for i in range(4)]


def traced(model: Callable[[], torch.nn.Module], *shape: int) -> Graph:
    torch.manual_seed(0)
    return graphopt.trace(model().eval(), (torch.randn(2, *shape),))


@pytest.mark.parametrize(("model", "shape"), [(Causal, (5, 8)), (Filled, (8,))])
def test_torch_modules(model: Callable[[], torch.nn.Module], shape: tuple[int, ...]) -> None:
    graph, data = traced(model, *shape), samples(*shape)
    small = Quantize(calibration=data)(graph)
    for x in data:
        assert signal_to_noise(small(x)[0], graph(x)[0]) > 30
    assert not any(n.op.name in ("softmax", "where", "add") and n.types[0].dtype == "float32" for n in small.nodes)


LENGTH = 6
HIDDEN = np.tri(LENGTH, dtype=bool)[None].repeat(4, 0)
HIDDEN[1:, :, 0] = False
HIDDEN = ~np.where(HIDDEN.any(-1, keepdims=True), HIDDEN, True)


def attention(mask: Callable[[Value], Value], dtype: str = "float32", scale: float = 1.0) -> Graph:
    """Attention by a mask that is an input; it gives its weights as well."""
    rng = np.random.default_rng(3)
    x, m = arg("x", "float32", (Batch(), LENGTH, 8)), arg("m", dtype, (Batch(), LENGTH, LENGTH))

    def layer(name: str) -> Value:
        w, b = (rng.standard_normal(s).astype("float32") / 2 for s in ((8, 8), 8))
        return Linear()(x, constant(w * (scale if name == "k" else 1)), constant(b), name=name)

    key = Reshape(shape=(Batch(), 8, LENGTH))(layer("k"))
    scores = Mul()(MatMul()(layer("q"), key), constant(np.float32(0.35)))
    infinite = constant(np.float32(-np.inf))
    shares = Softmax(axis=2)(Where()(m, infinite, scores) if dtype == "bool" else Add()(scores, mask(m)))
    return Graph((x, m), (MatMul()(shares, layer("v")), shares))


def given(m: Value) -> Value:
    return m


def computed(m: Value) -> Value:
    """From ones and zeros, as BERT has it."""
    return Mul()(Sub()(constant(np.float32(1)), m), constant(np.float32(-10000.0)))


MASKS = [-np.inf, -1e4, -1e9, np.finfo("float32").min]


@pytest.mark.parametrize("scale", [0.1, 1.0])
@pytest.mark.parametrize("low", [*MASKS, "bool", "computed"])
def test_masks_that_are_inputs(low: float | str, scale: float) -> None:
    dtype = "bool" if low == "bool" else "float32"
    graph = attention(computed if low == "computed" else given, dtype, scale)
    masks = {"bool": HIDDEN, "computed": (~HIDDEN).astype("float32")}
    mask = masks[low] if isinstance(low, str) else np.where(HIDDEN, low, 0).astype("float32")
    data = [{"x": x, "m": mask} for x in samples(LENGTH, 8)]
    small = Quantize(calibration=data)(graph)
    for batch in data:
        (got, shares), (want, wanted) = small(**batch), graph(**batch)
        assert np.abs(shares[HIDDEN]).max() == 0
        assert np.abs(shares - wanted).max() < 12 * STEP
        assert signal_to_noise(got, want) > 25
        assert signal_to_noise(shares, wanted) > 25


@pytest.mark.parametrize("observer", ["percentile", "mse", "entropy"])
def test_observers_leave_masks_below(observer: str) -> None:
    """Whatever they cut off on the other side."""
    graph = attention(given)
    batch = {"x": samples(LENGTH, 8)[0], "m": np.where(HIDDEN, -np.inf, 0).astype("float32")}
    shares = Quantize(calibration=[batch], observer=observer)(graph)(**batch)[1]
    assert np.abs(shares[HIDDEN]).max() == 0
    assert signal_to_noise(shares, graph(**batch)[1]) > 20


def masked_by_torch(low: float) -> tuple[Graph, list[dict[str, Array]]]:
    torch.manual_seed(0)
    given = torch.randn(2, LENGTH, 8), torch.zeros(2, LENGTH, LENGTH)
    data = [{"x": x, "mask": np.where(HIDDEN, low, 0).astype("float32")} for x in samples(LENGTH, 8)]
    return graphopt.trace(Masked().eval(), given), data


@pytest.mark.parametrize("low", MASKS)
def test_a_mask_given_to_torch(low: float) -> None:
    graph, data = masked_by_torch(low)
    small = Quantize(calibration=data)(graph)
    assert signal_to_noise(small(**data[0])[0], graph(**data[0])[0]) > 30
    if low == -np.inf:  # and a row of nothing else
        data[0]["mask"][0, 2] = low
        got, want = small(**data[0])[0], graph(**data[0])[0]
        assert np.abs(got - want)[0, 2].max() < 0.05
        assert signal_to_noise(got, want) > 30


def test_a_bias_of_attention_is_no_mask() -> None:
    """As ALiBi adds: its range is kept."""
    graph = attention(given)
    slope = -np.abs(np.arange(LENGTH)[:, None] - np.arange(LENGTH)).astype("float32")
    data = [{"x": x, "m": np.broadcast_to(slope, (4, LENGTH, LENGTH))} for x in samples(LENGTH, 8)]
    small = Quantize(calibration=data)(graph)
    assert signal_to_noise(small(**data[0])[1], graph(**data[0])[1]) > 30


def test_infinity_saturates_where_there_is_no_softmax() -> None:
    x, w = arg("x", "float32", (Batch(), 4)), constant(np.eye(4, dtype="float32"))
    y = Where()(
        constant(np.array([True, False, False, False])),
        constant(np.float32(np.inf)),
        Linear()(x, w, constant(np.zeros(4, "float32"))),
    )
    data = [np.random.default_rng(0).uniform(-1, 1, (8, 4)).astype("float32")]
    got = Quantize(calibration=data)(Graph((x,), (y,)))(data[0])[0]
    assert np.all(got[:, 0] == got.max())
    assert np.abs(got[:, 1:] - data[0][:, 1:]).max() < 0.02


def test_analysis_leaves_masks_out() -> None:
    graph, data = masked_by_torch(-np.inf)
    report = analyze_quantization(graph, data)
    assert all(row.max_error < 1 and row.output_sqnr > 20 for row in report.layers)
    assert report.sqnr > 30


def test_what_others_read_is_not_cut() -> None:
    graph = attention(given)
    masked = graph.outputs[1].node.inputs[0]
    graph = Graph(graph.inputs, (*graph.outputs, Mul()(masked, constant(np.float32(2)))))
    data = [{"x": x, "m": np.where(HIDDEN, -1e4, 0).astype("float32")} for x in samples(LENGTH, 8)]
    got, want = Quantize(calibration=data)(graph)(**data[0])[2], graph(**data[0])[2]
    assert np.abs(got - want).max() < 0.01 * np.abs(want).max()


@pytest.mark.parametrize("low", MASKS)
def test_masked_maxima(low: float) -> None:
    """The largest of what is not hidden, as pooling over padded sequences takes it."""
    x, hidden = arg("x", "float32", (Batch(), LENGTH, 8)), arg("hidden", "bool", (Batch(), LENGTH, 1))
    rng = np.random.default_rng(5)
    w, b = (constant(rng.standard_normal(s).astype("float32")) for s in ((8, 8), 8))
    kept = Where()(hidden, constant(np.float32(low)), Linear()(x, w, b))
    graph = Graph((x, hidden), (Linear()(ReduceMax(axes=(1,))(kept), w, b),))
    data = [{"x": x, "hidden": HIDDEN[:, :, :1]} for x in samples(LENGTH, 8)]
    small = Quantize(calibration=data)(graph)
    assert signal_to_noise(small(**data[0])[0], graph(**data[0])[0]) > 30


def test_nan_names_the_node_and_the_sample() -> None:
    x = arg("x", "float32", (Batch(), 4))
    y = Sqrt()(Add()(x, x, name="double"), name="root")
    data = [np.ones((2, 4), "float32"), np.ones((2, 4), "float32")]
    data[1][1, 2] = -1
    with pytest.raises(InvalidInput, match=r"root: NaN on the calibration data .*\[1, 2\] of batch 1") as error:
        Quantize(calibration=data)(Graph((x,), (y,)))
    assert error.value.advice


DATA: dict[str, Array] = {
    "denormal": np.full((8, 4), 1e-45, "float32"),
    "tiny": np.full((8, 4), 1e-37, "float32"),
    "zero": np.zeros((8, 4), "float32"),
    "constant": np.full((8, 4), 3.0, "float32"),
    "large": np.linspace(-1e29, 1e29, 32, dtype="float32").reshape(8, 4),
    "endless": np.full((8, 4), np.inf, "float32"),
    "single": np.ones((1, 4), "float32"),
}


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("name", DATA)
def test_strange_data(name: str, observer: str) -> None:
    x, data = arg("x", "float32", (Batch(), 4)), DATA[name]
    w, b = constant(np.full((3, 4), 0.25, "float32")), constant(np.full(3, 0.5, "float32"))
    graph = Graph((x,), (Div()(Linear()(x, w, b), constant(np.float32(2))),))
    with np.errstate(invalid="ignore"):
        got, want = (g(data)[0] for g in (Quantize(calibration=[data], observer=observer)(graph), graph))
    if name not in ("endless", "large"):
        assert np.abs(got - want).max() <= 0.02 * np.abs(want).max()


@pytest.mark.parametrize("data", [[], [np.zeros((0, 4), "float32")], np.zeros((0, 4), "float32")])
def test_no_data(data: Array | list[Array]) -> None:
    x = arg("x", "float32", (Batch(), 4))
    graph = Graph((x,), (Linear()(x, constant(np.ones((3, 4), "float32")), constant(np.zeros(3, "float32"))),))
    with pytest.raises(InvalidInput, match=r"no data|\[0, 4\] given"):
        Quantize(calibration=data)(graph)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_programs_with_masks(target: str) -> None:
    graph, data = masked_by_torch(-np.inf)
    data[0]["mask"][0, 2] = -np.inf
    small = Fuse()(Quantize(calibration=data[1:])(graph))
    program = graphopt.compile(small, target)
    x = {name: array[:1] for name, array in data[0].items()}
    given = program.dequantize(*program.measure(x).outputs[0])
    np.testing.assert_array_equal(given, small(**x)[0])
