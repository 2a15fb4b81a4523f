"""The folding passes, case by case: what folds, into what, and why the rest does not."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Div,
    Exp,
    Expand,
    Linear,
    MaxPool,
    Mul,
    Pad,
    Relu,
    Split,
    Sub,
)
from graphopt.passes import Context, FoldAffine, FoldBatchNorm, FoldConstants, FoldPads, Pass
from graphopt.testing import check_pass

RNG = np.random.default_rng(0)
GEOMETRIES = [{}, {"group": 2}, {"pads": (1, 0, 2, 1), "strides": (2, 1)}, {"dilations": (2, 1)}]


def const(*shape: int, name: str = "", positive: bool = False) -> Value:
    data = RNG.uniform(0.5 if positive else -1, 1.5, shape)
    return constant(data.astype(np.float32), name)


def image(channels: int = 4, *spatial: int) -> Value:
    return arg("x", "float32", (Batch(), channels, *(spatial or (7, 5))))


def norm(x: Value, name: str = "bn") -> Value:
    c = x.type.shape[1]
    assert isinstance(c, int)
    return BatchNorm()(x, const(c), const(c), const(c), const(c, positive=True), name=name)


def conv(x: Value, out: int = 6, kernel: int = 3, name: str = "conv", **options: object) -> Value:
    op = Conv(**options)  # type: ignore[arg-type]
    c = x.type.shape[1]
    assert isinstance(c, int)
    weight = const(out, c // op.group, *(kernel,) * (x.type.rank - 2), name=f"{name}.weight")
    return op(x, weight, const(out, name=f"{name}.bias"), name=name)


def conv_transpose(x: Value, out: int = 3, kernel: int = 3, **options: object) -> Value:
    op = ConvTranspose(**options)  # type: ignore[arg-type]
    c = x.type.shape[1]
    assert isinstance(c, int)
    return op(x, const(c, out, *(kernel,) * (x.type.rank - 2), name="w"), const(out * op.group, name="b"), name="up")


def ops(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes if n.op.name not in ("input", "constant")]


def folds(pass_: Pass, result: Value, *expected: str) -> Graph:
    inputs = [n.results[0] for n in Graph((), (result,)).nodes if n.op.name == "input"]
    after = check_pass(pass_, Graph(tuple(inputs), (result,)))
    assert ops(after) == list(expected)
    return after


def reasons(pass_: Pass, *results: Value) -> str:
    """Why a pass leaves a graph as it is."""
    inputs = [n.results[0] for n in Graph((), results).nodes if n.op.name == "input"]
    graph, context = Graph(tuple(inputs), results), Context()
    assert str(pass_.run(graph, context)) == str(graph)
    return "\n".join(str(n) for n in context.notes if n.declined)


@pytest.mark.parametrize(
    "options", [{}, {"group": 2}, {"pads": (1, 0, 2, 1), "strides": (2, 1)}, {"dilations": (2, 1)}]
)
def test_norm_behind_conv(options: dict[str, object]) -> None:
    after = folds(FoldBatchNorm(), norm(conv(image(), **options)), "conv")
    assert set(after.names.values()) == {"x", "conv.weight", "conv.bias", "bn"}
    assert after.node("bn").origins == ("conv", "bn")
    assert after.node("conv.weight").origins == ("conv.weight",)


@pytest.mark.parametrize("options", [{}, {"group": 2}, {"group": 4}, {"strides": (2, 2), "output_padding": (1, 0)}])
def test_norm_behind_conv_transpose(options: dict[str, object]) -> None:
    folds(FoldBatchNorm(), norm(conv_transpose(image(), **options)), "conv_transpose")


def test_norm_beside_linear() -> None:
    x = arg("x", "float32", (Batch(), 5))
    folds(FoldBatchNorm(), norm(Linear()(norm(x), const(3, 5), const(3))), "linear")


def test_norm_on_another_axis_than_linear_stays() -> None:
    y = Linear()(arg("x", "float32", (Batch(), 3, 5)), const(3, 5), const(3))
    assert "axis 1" in reasons(FoldBatchNorm(), norm(y))


@pytest.mark.parametrize("group", [1, 2, 4])
def test_norm_in_front(group: int) -> None:
    folds(FoldBatchNorm(), conv(norm(image()), out=8, group=group, strides=(2, 1)), "conv")
    folds(FoldBatchNorm(), conv_transpose(norm(image()), kernel=1, group=group, pads=(1, 0, 0, 0)), "conv_transpose")


def test_shift_in_front_of_borders_stays() -> None:
    assert "does not reach the padding" in reasons(FoldBatchNorm(), conv(norm(image()), pads=(0, 0, 1, 0)))
    assert "unevenly" in reasons(FoldBatchNorm(), conv_transpose(norm(image())))
    assert "unevenly" in reasons(FoldBatchNorm(), conv_transpose(norm(image()), kernel=1, strides=(2, 2)))


def test_scale_in_front_of_padding_folds() -> None:
    folds(FoldAffine(), conv(Mul()(image(), const(4, 1, 1)), pads=(1, 1, 1, 1)), "conv")
    folds(FoldAffine(), conv_transpose(Div()(image(), const(4, 1, 1, positive=True)), group=2), "conv_transpose")


def test_norm_between_layers_goes_into_the_one_in_front() -> None:
    first = conv(image(), name="first")
    second = conv(norm(first), kernel=1, name="second")
    after = folds(FoldBatchNorm(), second, "conv", "conv")
    assert after.node("second").inputs[1].constant is second.node.inputs[1].constant


def test_layer_with_two_readers_keeps_its_norm() -> None:
    y = conv(image())
    assert "conv has 2 uses" in reasons(FoldBatchNorm(), norm(y), Relu()(y))


def test_shared_weights_stay_for_their_other_reader() -> None:
    x = image()
    weight, bias = const(4, 4, 3, 3, name="w"), const(4, name="b")
    a, b = Conv()(x, weight, bias, name="a"), Conv()(x, weight, bias, name="b2")
    after = check_pass(FoldBatchNorm(), Graph((x,), (norm(a), b)))
    assert after.node("b2").inputs[1].constant is weight.constant
    assert after.node("bn").inputs[1].constant is not weight.constant
    assert after.names[after.node("bn").inputs[1].node] in ("w", "w_1")


def test_norm_without_spread_and_infinite_weights_are_declined() -> None:
    y = conv(image(), out=2)
    ones, flat = constant(np.ones(2, np.float32)), constant(np.full(2, -1e-5, np.float32))
    assert "not positive" in reasons(FoldBatchNorm(), BatchNorm(epsilon=0.0)(y, ones, ones, ones, flat))
    huge = constant(np.full(2, 3e38, np.float32))
    scaled = BatchNorm(epsilon=0.0)(y, huge, ones, ones, constant(np.full(2, 1e-6, np.float32)))
    assert "not be finite in float32" in reasons(FoldBatchNorm(), scaled)


def test_arithmetic_behind_layers() -> None:
    c = const(6, 1, 1)
    folds(FoldAffine(), Sub()(c, Add()(Mul()(c, conv(image(), group=2)), c)), "conv")
    folds(FoldAffine(), Div()(conv_transpose(image(), group=2), const(1, 6, 1, 1, positive=True)), "conv_transpose")
    x = arg("x", "float32", (Batch(), 3, 5))
    folds(FoldAffine(), Add()(Linear()(x, const(2, 5), const(2)), const(2)), "linear")
    full = constant(np.broadcast_to(np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1), (1, 6, 5, 3)))
    folds(FoldAffine(), Mul()(conv(image()), full), "conv")


def test_arithmetic_that_is_not_by_channel_stays() -> None:
    assert "varies along axis 3" in reasons(FoldAffine(), Mul()(conv(image()), const(3)))
    assert "larger shape" in reasons(FoldAffine(), Add()(conv(image(), out=1), const(6, 1, 1)))
    assert "larger shape" in reasons(FoldAffine(), Add()(conv(image(1), out=1), const(1, 1, 6, 1, 1)))
    zero = constant(np.zeros((), np.float32))
    assert "not finite" in reasons(FoldAffine(), Div()(conv(image()), zero))
    assert "(y) is not constant" in reasons(FoldAffine(), Add()(conv(image()), arg("y", "float32", (Batch(), 6, 5, 3))))


def test_constants_in_a_row_merge() -> None:
    folds(FoldAffine(), Sub()(Add()(Sub()(image(), const()), const(4, 1, 1)), const()), "add")
    folds(FoldAffine(), Div()(Mul()(image(), const(4, 1, 1)), const(positive=True)), "mul")
    assert "larger than either" in reasons(FoldAffine(), Add()(Add()(image(), const(4, 1, 1)), const(5)))
    x = arg("x", "int32", (3,))
    one = constant(np.ones(3, np.int32))
    assert "wraps" in reasons(FoldAffine(), Add()(Add()(x, one), one))


PADS = (0, 0, 1, 0, 0, 0, 0, 2)


def test_pads_in_front_of_windows() -> None:
    x = image()
    after = folds(FoldPads(), conv(Pad(pads=PADS)(x), pads=(0, 1, 1, 0)), "conv")
    assert after.outputs[0].op == Conv(pads=(1, 1, 1, 2))
    folds(FoldPads(), AveragePool(kernel=(3, 3), strides=(2, 1))(Pad(pads=PADS)(x)), "average_pool")
    counted = AveragePool(kernel=(3, 3), pads=(1, 1, 1, 0), count_include_pad=True)
    folds(FoldPads(), counted(Pad(pads=PADS)(x)), "average_pool")
    folds(FoldPads(), MaxPool(kernel=(3, 3), pads=(1, 1, 0, 0))(Pad(pads=PADS, value=float("-inf"))(x)), "max_pool")
    folds(FoldPads(), conv(Pad(pads=PADS)(Pad(pads=PADS)(x))), "conv")


def test_pads_that_differ_from_what_the_operator_does_stay() -> None:
    x = image()
    padded = Pad(pads=PADS)(x)
    assert "it pads with 1.0" in reasons(FoldPads(), conv(Pad(pads=PADS, value=1.0)(x)))
    assert "max pooling with -inf" in reasons(FoldPads(), MaxPool(kernel=(3, 3))(padded))
    assert "not its own" in reasons(FoldPads(), AveragePool(kernel=(3, 3), pads=(1, 1, 1, 1))(padded))
    assert "as large as the window" in reasons(FoldPads(), AveragePool(kernel=(2, 2))(padded))
    assert "the channels" in reasons(FoldPads(), conv(Pad(pads=(0, 1, 0, 0, 0, 1, 0, 0))(x)))
    assert "2 uses" in reasons(FoldPads(), conv(padded), Relu()(padded))
    assert "the pad in front" in reasons(FoldPads(), Pad(pads=PADS, value=1.0)(padded))


def test_constant_subgraphs_are_evaluated() -> None:
    y = Exp()(Add()(const(3, name="a"), const(3)), name="exp")
    after = folds(FoldConstants(), Add()(arg("x", "float32", (3,)), y), "add")
    assert after.node("exp").origins == ("exp",)
    parts = Split(axis=0, sizes=(1, 2)).apply(const(3)).results
    assert ops(check_pass(FoldConstants(), Graph((), parts))) == []


def test_constants_that_would_grow_or_are_not_finite_stay() -> None:
    assert "would have 1000 elements" in reasons(FoldConstants(), Expand(shape=(10, 100))(const(1)))
    assert "depends on the batch" in reasons(FoldConstants(), Expand(shape=(Batch(), 2))(const(1, 2)))
    assert "not finite" in reasons(FoldConstants(), Div()(const(2), constant(np.zeros(2, np.float32))))


def test_infinite_constants_may_stay_infinite() -> None:
    low = constant(np.array([-np.inf, 1.0], np.float32))
    folds(FoldConstants(), Add()(arg("x", "float32", (2,)), Relu()(Add()(low, low))), "add")
