"""The passes that recover accuracy, on small nets: the property that each promises, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, Value, arg, constant
from graphopt.ops import Add, BatchNorm, Conv, ConvTranspose, Linear, ReduceMean, Relu
from graphopt.passes import (
    Context,
    CorrectBias,
    InsertQuantization,
    LowerInteger,
    Quantize,
    ReestimateBatchNorm,
    RoundWeights,
)
from graphopt.passes.contract import signal_to_noise
from graphopt.passes.quantize.calibrate import runs
from graphopt.passes.quantize.layers import quantized_layers

LAYERS = ["stem", "depthwise", "pointwise", "up", "head"]


def residual_net(seed: int = 0) -> Graph:
    """Convolutions of all kinds, a sum, and a linear layer, with weights as training leaves them: few large ones."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> tuple[Value, Value]:
        data = rng.standard_t(4, shape) / np.sqrt(np.prod(shape[1:]))
        return constant(data.astype("float32")), constant(rng.normal(0, 0.3, shape[0]).astype("float32"))

    x = arg("x", "float32", (Batch(), 3, 8, 8))
    y = Relu()(Conv(pads=(1, 1, 1, 1), strides=(2, 2))(x, *weights(8, 3, 3, 3), name="stem"))
    z = Relu()(Conv(pads=(1, 1, 1, 1), group=8)(y, *weights(8, 1, 3, 3), name="depthwise"))
    z = Relu()(Add()(Conv()(z, *weights(8, 8, 1, 1), name="pointwise"), y))
    w, _ = weights(8, 4, 2, 2)
    z = ReduceMean(axes=(2, 3), keepdims=False)(Relu()(ConvTranspose()(z, w, weights(4)[1], name="up")))
    return Graph((x,), (Linear()(z, *weights(5, 4), name="head"),))


def samples(seed: int, *batches: int) -> list[Array]:
    """Images of smooth stripes, so that neighbouring pixels are correlated."""
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.standard_normal((n, 3, 8, 8)), axis=2).astype("float32") for n in batches]


def channel_errors(graph: Graph, reference: Graph, data: list[Array]) -> Iterator[tuple[str, Array]]:
    """The errors [c, ...] of the results of each layer."""
    values = [[g.node(name).results[0] for name in LAYERS] for g in (graph, reference)]
    for name, *pairs in zip(
        LAYERS, zip(*runs(graph, values[0], data), strict=True), zip(*runs(reference, values[1], data), strict=True),
        strict=True,
    ):  # fmt: skip
        parts = [
            np.moveaxis(g - w.astype(np.float64), 1, 0).reshape(g.shape[1], -1) for g, w in zip(*pairs, strict=True)
        ]
        yield name, np.concatenate(parts, axis=1)


@pytest.mark.parametrize("weights", ["int8", "int4", "binary"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_mean_error_of_every_channel_is_zero(weights: str, per_channel: bool) -> None:
    graph, data = residual_net(), samples(1, 4, 7)
    context = Context(calibration=data)
    inserted = InsertQuantization(weights=weights, per_channel=per_channel).run(graph, context)
    corrected = CorrectBias().run(inserted, context)
    before = max(np.abs(e.mean(1)).max() for _, e in channel_errors(inserted, graph, data))
    assert before > 1e-3
    for name, error in channel_errors(corrected, graph, data):
        np.testing.assert_allclose(error.mean(1), 0, atol=2e-6, err_msg=name)


def single_layers() -> dict[str, Graph]:
    rng = np.random.default_rng(2)

    def const(*shape: int) -> Value:
        return constant(rng.standard_normal(shape).astype("float32"))

    x = arg("x", "float32", (Batch(), 3, 8, 8))
    rows = arg("x", "float32", (Batch(), 3, 8, 8))
    return {
        "conv": Graph((x,), (Conv(strides=(2, 1))(x, const(6, 3, 3, 3), const(6), name="layer"),)),
        "depthwise": Graph((x,), (Conv(group=3, pads=(1, 1, 1, 1))(x, const(3, 1, 3, 3), const(3), name="layer"),)),
        "linear": Graph((rows,), (Linear()(rows, const(5, 8), const(5), name="layer"),)),
    }


@pytest.mark.parametrize("weights", ["int8", "int4", "binary"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "linear"])
def test_no_channel_of_a_layer_is_worse_than_with_weights_rounded_to_nearest(kind: str, weights: str) -> None:
    """Before its results are quantized, which is the same for both."""
    graph, data = single_layers()[kind], samples(3, 5, 2)
    context = Context(calibration=data)
    inserted = InsertQuantization(weights=weights).run(graph, context)
    rounded = RoundWeights().run(inserted, context)
    axis = 3 if kind == "linear" else 1

    def errors(quantized: Graph) -> Array:
        got, want = (
            [np.moveaxis(r[0], axis, 0).reshape(r[0].shape[axis], -1) for r in runs(g, g.node("layer").results, data)]
            for g in (quantized, graph)
        )
        return np.square(np.concatenate(got, 1) - np.concatenate(want, 1).astype(np.float64)).mean(1)

    assert (errors(rounded) <= errors(inserted) * (1 + 1e-5)).all()
    assert errors(rounded).sum() < errors(inserted).sum()


def test_four_bits_are_recovered_by_default_and_lowered_as_they_are() -> None:
    graph, data, fresh = residual_net(), samples(1, 64), samples(9, 64)
    (want,) = graph(*fresh)

    def sqnr(**options: object) -> float:
        return signal_to_noise(Quantize(calibration=data, weights="int4", **options)(graph)(*fresh)[0], want)  # type: ignore[arg-type]

    assert sqnr() > sqnr(recover=()) + 3
    assert sqnr() == sqnr(recover=("round-weights",))
    context = Context(calibration=data)
    qdq = RoundWeights().run(InsertQuantization(weights="int4").run(graph, context), context)
    assert {layer.bits for layer in quantized_layers(qdq).values()} == {4}
    assert signal_to_noise(LowerInteger()(qdq)(*fresh)[0], qdq(*fresh)[0]) > 35


def test_a_transposed_convolution_keeps_its_weights() -> None:
    graph, context = residual_net(), Context(calibration=samples(1, 8))
    inserted = InsertQuantization(weights="int4").run(graph, context)
    rounded = RoundWeights().run(inserted, context)
    for g in (inserted, rounded):
        assert g.node("up").inputs[1].node.inputs[0].constant is not None
    before, after = (g.node("up").inputs[1].node.inputs[0].constant for g in (inserted, rounded))
    np.testing.assert_array_equal(before, after)
    (note,) = [n for n in context.notes if n.declined and n.pass_name == "round-weights"]
    assert (note.node, note.text) == ("up", "rounded to nearest: conv_transpose is not seen as a matrix product")


def norm_net(mean: float, var: float) -> Graph:
    rng = np.random.default_rng(4)
    x, y = arg("x", "float32", (Batch(), 3, 8, 8)), None
    for name in ("first", "second"):
        weight = constant(rng.standard_normal((3, 3, 3, 3)).astype("float32"))
        conv = Conv()(x if y is None else y, weight, constant(np.zeros(3, "float32")), name=name)
        scale, bias = (constant(rng.uniform(0.5, 2, 3).astype("float32")) for _ in range(2))
        parts = constant(np.full(3, mean, "float32")), constant(np.full(3, var, "float32"))
        y = BatchNorm()(conv, scale, bias, *parts, name=f"{name}.norm")
    return Graph((x,), (y,))


@pytest.mark.parametrize("quantized", [False, True])
def test_norms_normalise_the_data_again(quantized: bool) -> None:
    """Mean and deviation of what a norm gives are its bias and scale, batches of unlike sizes together."""
    data, context = samples(5, 3, 8), Context(calibration=samples(5, 3, 8))
    graph = norm_net(5.0, 0.3)
    if quantized:
        graph = InsertQuantization(weights="int4").run(graph, context)
    new = ReestimateBatchNorm().run(graph, context)
    for name in ("first.norm", "second.norm"):
        node = new.node(name)
        scale, bias = (v.constant for v in node.inputs[1:3])
        got = np.concatenate([r[0] for r in runs(new, node.results, data)])
        np.testing.assert_allclose(got.mean((0, 2, 3)), bias, atol=1e-4)
        np.testing.assert_allclose(got.std((0, 2, 3)), scale, rtol=1e-4)


def test_what_is_missing_is_refused() -> None:
    graph, data = residual_net(), samples(1, 2)
    for pass_ in (RoundWeights(), CorrectBias()):
        with pytest.raises(InvalidInput, match=r"(?s)there is no float graph to recover.*behind insert-quantization"):
            pass_(graph)
    with pytest.raises(InvalidInput, match="there is no calibration data"):
        RoundWeights(reference=graph)(graph)
    with pytest.raises(InvalidInput, match="there is no calibration data"):
        ReestimateBatchNorm()(graph)
    with pytest.raises(InvalidInput, match=r"recover: 'magic' is none of equalize-layers, round-weights"):
        Quantize(calibration=data, recover=("magic",))(graph)
