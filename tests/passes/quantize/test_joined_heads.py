"""Heads of unlike ranges in one result, boxes and scores: each keeps a scale of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphopt import compile
from graphopt.ir import Array, Batch, Graph, Value, arg, constant
from graphopt.ops import Add, Concat, Conv, Gather, Linear, Mul, Neg, Relu, Reshape, Sigmoid, Slice, Split, Transpose
from graphopt.passes import Context, Fuse, MixedPrecision, Quantize
from graphopt.passes.contract import signal_to_noise
from graphopt.passes.quantize.layers import packed_weights

SCORE_BOUND = 0.04
RNG = np.random.default_rng(0)
X = arg("x", "float32", (Batch(), 3, 6, 6))
DATA = [RNG.standard_normal((4, 3, 6, 6)).astype("float32") for _ in range(2)]


def weights(*shape: int) -> Value:
    return constant((np.random.default_rng(sum(shape)).standard_normal(shape) / 2).astype("float32"))


def conv(x: Value, out: int, name: str, first: int = 1, stride: int = 1) -> Value:
    """1x1, whose first channels are 160 times as large."""
    weight = weights(out, 3, 1, 1).constant
    assert weight is not None
    factor = np.where(np.arange(out) < first, 160, 1).reshape(-1, 1, 1, 1)
    bias = np.where(np.arange(out) < first, 0, -1)
    arrays = (constant(np.asarray(a, "float32"), f"{name}.{n}") for n, a in (("w", weight * factor), ("b", bias)))
    return Conv(strides=(stride, stride))(x, *arrays, name=name)


def boxes(x: Value = X, stride: int = 1) -> Value:
    return Relu()(conv(x, 4, "boxes", first=4, stride=stride))


def scores(x: Value = X, stride: int = 1) -> Value:
    return Sigmoid()(conv(x, 5, "scores", first=0, stride=stride))


def along_channels() -> Value:
    return Concat(axis=1)(boxes(), scores(), name="join")


def rows(x: Value, features: int, size: int = 36) -> Value:
    return Transpose(perm=(0, 2, 1))(Reshape(shape=(Batch(), features, size))(x))


def behind_reshape() -> Value:
    return Concat(axis=2)(rows(boxes(), 4), rows(scores(), 5))


def scale_of_yolo(stride: int) -> Value:
    size = 36 // stride**2
    return Reshape(shape=(Batch(), 9, size))(Concat(axis=1)(boxes(stride=stride), scores(stride=stride)))


def along_anchors() -> Value:
    return Transpose(perm=(0, 2, 1))(Concat(axis=2)(*(scale_of_yolo(stride) for stride in (1, 2, 3))))


def nested() -> Value:
    halves = (Slice(axis=1, start=a, stop=b)(boxes()) for a, b in ((0, 2), (2, 4)))
    return Concat(axis=1)(Concat(axis=1)(*halves), Concat(axis=1)(scores()))


def with_constant() -> Value:
    grid = constant(np.full((1, 9, 6), 0.7, "float32"))
    return Concat(axis=2)(Reshape(shape=(1, 9, 36))(along_channels_of_one()), grid)


def along_channels_of_one() -> Value:
    x = arg("x", "float32", (1, 3, 6, 6))
    return Concat(axis=1)(boxes(x), scores(x))


def graph_of(*outputs: Value, x: Value = X) -> Graph:
    return Graph((x,), outputs)


def decoded_behind() -> Value:
    """What is common to all heads is done behind the join."""
    raw = Concat(axis=1)(conv(X, 4, "boxes", first=4), conv(X, 5, "scores", first=0))
    half = np.where(np.arange(9) < 4, 1.0, 0.5).astype("float32").reshape(9, 1, 1)
    return Mul()(Relu()(Add()(raw, constant(half))), constant(half))


HEADS: dict[str, tuple[Callable[[], Value], int]] = {
    "channels": (along_channels, 1),
    "last axis": (behind_reshape, 2),
    "anchors": (along_anchors, 2),
    "nested": (nested, 1),
    "functions behind": (decoded_behind, 1),
}


def worst_score(got: Array, want: Array, axis: int) -> float:
    """The largest error of a score; boxes go from 0 to 160 at least."""
    assert np.abs(want).max() > 100
    assert np.take(want, range(4, 9), axis).max() < 2
    return float(np.abs(np.take(got - want, range(4, 9), axis)).max())


@pytest.mark.parametrize("name", HEADS)
def test_scores_beside_boxes(name: str) -> None:
    make, axis = HEADS[name]
    graph = graph_of(make())
    context = Context()
    small = Quantize(calibration=DATA).run(graph, context)
    got, want = small(DATA[0])[0], graph(DATA[0])[0]
    assert worst_score(got, want, axis) < SCORE_BOUND
    assert signal_to_noise(got, want) > 35
    told = [str(note) for note in context.notes if note.declined]
    assert any("too unlike for one scale" in text for text in told)
    assert any("it joins parts that keep scales of their own; it costs" in text for text in told)


def test_a_constant_is_a_part() -> None:
    y = with_constant()
    x = next(n for n in Graph((), (y,)).nodes if n.name == "x").results[0]
    graph, data = Graph((x,), (y,)), [batch[:1] for batch in DATA]
    got, want = Quantize(calibration=data)(graph)(data[0])[0], graph(data[0])[0]
    assert np.array_equal(got[..., 36:], want[..., 36:])
    assert np.abs(got - want)[:, 4:].max() < SCORE_BOUND


def test_what_computes_with_the_join_reads_integers() -> None:
    """The graph output has the parts as they are; the convolution behind has one scale for the join, as ever."""
    join = along_channels()
    graph = graph_of(join, Conv()(join, weights(2, 9, 1, 1), constant(np.zeros(2, "float32"))))
    small = Quantize(calibration=DATA)(graph)
    (got, other), (want, wanted) = small(DATA[0]), graph(DATA[0])
    assert worst_score(got, want, 1) < SCORE_BOUND
    assert signal_to_noise(other, wanted) > 30
    assert [n.op.name for n in small.nodes].count("conv_integer") == 3


def decoded(raw: Value, axis: int = 1) -> Value:
    """Heads cut out of one result, decoded, and joined again."""
    box, score = Split(axis=axis, sizes=(4, 5)).apply(raw).results
    return Concat(axis=axis)(Relu()(box), Sigmoid()(score))


def test_batches_that_are_joined() -> None:
    """Along the batch nothing is taken apart; the join stays float."""
    x = arg("x", "float32", (1, 3, 6, 6))
    y = Relu()(Concat(axis=0)(conv(x, 4, "boxes", first=4), conv(x, 4, "scores", first=0)))
    symbolic = Relu()(Concat(axis=0)(conv(X, 4, "boxes", first=4), conv(X, 4, "scores", first=0)))
    for graph in (graph_of(y, x=x), graph_of(symbolic)):
        data = [batch[:1] for batch in DATA]
        assert signal_to_noise(Quantize(calibration=data)(graph)(data[0])[0], graph(data[0])[0]) > 30


def one_conv() -> Value:
    return decoded(conv(X, 9, "heads", first=4))


def several_scales() -> Value:
    parts = []
    for stride in (1, 2):
        raw = conv(X, 9, f"heads{stride}", first=4, stride=stride)
        parts.append(Reshape(shape=(Batch(), 9, 36 // stride**2))(raw))
    return decoded(Concat(axis=2)(*parts))


def anchors_in_channels() -> Value:
    """Two anchors of 9 features in 18 channels, as YOLOv3 has them."""
    weight = conv(X, 9, "a", first=4).node.inputs[1].constant
    assert weight is not None
    raw = Conv()(X, constant(np.concatenate([weight, weight])), constant(np.full(18, -1, "float32")), name="heads")
    return decoded(Reshape(shape=(Batch(), 2, 9, 36))(raw), axis=2)


def one_linear() -> Value:
    weight = np.random.default_rng(0).standard_normal((9, 6)) * np.where(np.arange(9) < 4, 160, 1)[:, None]
    raw = Linear()(X, constant(weight.astype("float32")), constant(np.zeros(9, "float32")), name="heads")
    return decoded(Transpose(perm=(0, 3, 1, 2))(raw))


SLICED = {f.__name__: f for f in (one_conv, several_scales, anchors_in_channels, one_linear)}


@pytest.mark.parametrize("name", SLICED)
def test_a_layer_of_two_heads_is_divided(name: str) -> None:
    graph = graph_of(SLICED[name]())
    axis = 2 if name == "anchors_in_channels" else 1
    context = Context()
    small = Quantize(calibration=DATA).run(graph, context)
    assert worst_score(small(DATA[0])[0], graph(DATA[0])[0], axis) < SCORE_BOUND
    assert any("part of heads" in str(note) for note in context.notes)
    before = [n for n in graph.nodes if isinstance(n.op, Conv | Linear)]
    assert sum("_integer" in n.op.name for n in small.nodes) == 2 * len(before)


def test_gathered_heads() -> None:
    raw = conv(X, 9, "heads", first=4)
    box, score = (Gather(axis=1)(raw, constant(np.asarray(at))) for at in ([0, 1, 2, 3], 5))
    graph = graph_of(Mul()(box, constant(np.float32(2))), Sigmoid()(score))
    small = Quantize(calibration=DATA)(graph)
    for got, want in zip(small(DATA[0]), graph(DATA[0]), strict=True):
        assert signal_to_noise(got, want) > 35


def test_what_is_read_whole_is_not_divided() -> None:
    """Else its products were computed twice."""
    raw = conv(X, 9, "heads", first=4)
    graph = graph_of(Neg()(raw), decoded(raw))
    small = Quantize(calibration=DATA)(graph)
    assert [n.op.name for n in small.nodes].count("conv_integer") == 1


def test_parts_have_the_overrides_of_their_layer() -> None:
    graph = graph_of(one_conv())
    inserted = Quantize(calibration=DATA, overrides={"heads": "int4"}, recover=[])(graph)
    assert [bits for bits, _ in packed_weights(inserted).values()] == [4, 4]
    wide = Quantize(calibration=DATA, overrides={"heads": "int16"})(graph)
    assert [n.op.name for n in wide.nodes].count("conv_integer") == 1


def test_mixed_precision_chooses_for_each_part() -> None:
    graph, context = graph_of(one_conv()), Context()
    small = MixedPrecision(calibration=DATA, budget=0.8, recover=()).run(graph, context)
    chosen = [note for note in context.notes if note.pass_name == "mixed-precision"]
    assert len(chosen) == 2
    assert worst_score(small(DATA[0])[0], graph(DATA[0])[0], 1) < 0.2


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.6])
def test_alike_ranges_share_a_scale(factor: float) -> None:
    """Less than one bit is lost: the join stays one of integers."""
    left, right = (Sigmoid()(conv(X, 5, n, first=0)) for n in ("a", "b"))
    graph = graph_of(Concat(axis=1)(left, Mul()(Add()(right, right), constant(np.float32(factor / 2)))))
    small = Quantize(calibration=DATA)(graph)
    assert small.outputs[0].op.name == "dequantize"


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_programs_of_joined_heads(target: str) -> None:
    """The join is float32 in the program's interface, the other output an integer; both are the evaluator's."""
    graph = graph_of(along_anchors(), one_conv(), scores())
    small = Fuse()(Quantize(calibration=DATA)(graph))
    program = compile(small, target)
    ports = program.manifest["outputs"]
    assert [port["dtype"] for port in ports] == ["float32", "float32", "int8"]
    x = DATA[0][:1]
    outputs = program.dequantize(*program.measure([x]).outputs[0])
    for got, want in zip(outputs, small(x), strict=True):
        np.testing.assert_array_equal(got, want)
