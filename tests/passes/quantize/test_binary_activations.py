"""Binary weights and activations: the integers are what the signs give in float, and a weight is stored in a bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiling import KINDS_OF_CODE, Weights

from graphopt import compile
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, Value, arg, cast_floats
from graphopt.ops import Binarize, Conv, ConvInteger, ConvXnor, Dequantize, Linear, PackSigns, Relu, Reshape
from graphopt.passes import Context, Fuse, InsertQuantization, LowerInteger, MixedPrecision, Quantize
from graphopt.passes.quantize.layers import packed_weights
from graphopt.passes.quantize.regions import in_float, regions
from graphopt.passes.quantize.rules.binary import unit_of
from graphopt.passes.quantize.scheme import Scheme
from graphopt.rewrite import Decline


def net() -> Graph:
    """A layer inside, of padded windows over two words of channels, reads what has both signs; so does the last."""
    g = Weights()
    x = Conv(pads=(1, 1, 1, 1))(g.x(1, 2, 5, 6), g.w(40, 2, 3, 3), g.w(40), name="stem")
    y = Conv(pads=(1, 0, 1, 2), strides=(2, 1))(x, g.w(64, 40, 3, 3), g.w(64), name="inner")
    z = Relu()(Conv()(y, g.w(4, 64, 1, 1), g.w(4), name="head"))
    return g.graph(Linear()(Reshape(shape=(1, 72))(z), g.w(3, 72), g.w(3), name="fc"))


def samples(graph: Graph, count: int = 4) -> list[Array]:
    rng = np.random.default_rng(1)
    shape = [2 if isinstance(d, Batch) else d for d in graph.inputs[0].type.shape]
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


def both(graph: Graph, **options: object) -> tuple[Graph, Graph, list[str]]:
    """The graph of quantize and dequantize, the integers, and what was declined."""
    context = Context()
    qdq = InsertQuantization(calibration=samples(graph), **options).run(graph, context)  # type: ignore[arg-type]
    return qdq, LowerInteger().run(qdq, context), [n.text for n in context.notes if n.declined]


def of(graph: Graph, kind: type) -> list[Value]:
    return [n.results[0] for n in graph.nodes if isinstance(n.op, kind)]


def test_the_integers_are_those_of_the_signs_in_float() -> None:
    """The packed signs are those of the simulation exactly, and the results are within one step of it."""
    graph = net()
    qdq, integer, declined = both(graph, overrides={"inner": "xnor"})
    assert not declined
    (signs,), (packed,) = of(qdq, Binarize), of(integer, PackSigns)
    simulated = replace(cast_floats(qdq, "float64"), output_names=())
    (signs,) = of(simulated, Binarize)
    step = float(np.asarray(qdq.outputs[0].node.inputs[1].constant))
    for x in samples(graph):
        real, want = replace(simulated, outputs=(signs, *simulated.outputs), output_names=())(x.astype(np.float64))
        words, got = replace(integer, outputs=(packed, *integer.outputs), output_names=())(x)
        for c in range(40):
            np.testing.assert_array_equal(words[:, c // 32] >> np.uint32(c % 32) & 1, real[:, c] < 0)
        assert np.abs(got - want).max() <= 2 * step


def test_a_weight_takes_one_bit() -> None:
    _, integer, _ = both(net(), overrides={"inner": "xnor"})
    (acc,) = of(integer, ConvXnor)
    weight = acc.node.inputs[1]
    assert weight.type.dtype == "uint32" and weight.type.shape == (64, 2, 3, 3)
    assert weight.constant is not None and weight.constant.nbytes == 64 * 64 * 9 // 8
    assert packed_weights(integer)[acc.node.name] == (1, 64 * 64 * 9 // 8)


@pytest.mark.parametrize("target", KINDS_OF_CODE)
def test_programs_are_the_evaluator(target: str) -> None:
    graph = net()
    q = Quantize(calibration=samples(graph), overrides={"inner": "xnor", "head": "xnor"})(graph)
    assert len(of(q, ConvXnor)) == 2
    x = samples(graph)[0]
    (got,) = compile(Fuse()(q), target, io="float32").measure({"x0": x}, count=False).outputs
    np.testing.assert_array_equal(got[0], q(x)[0])


@pytest.mark.parametrize("shape", [(Batch(), 40), (Batch(), 3, 40)])
def test_matrix_products_of_any_rank(shape: tuple[int | Batch, ...]) -> None:
    g = Weights()
    x = arg("x", "float32", shape)
    graph = Graph((x,), (Linear()(x, g.w(5, 40), g.w(5), name="fc"),))
    qdq, integer, declined = both(graph, weights="binary", activations="binary")
    assert not declined and len(of(integer, ConvXnor)) == 1
    step = float(np.asarray(qdq.outputs[0].node.inputs[1].constant))
    for x_ in samples(graph):
        assert np.abs(integer(x_)[0] - qdq(x_)[0]).max() <= step * 1.001


def test_activations_are_binary_where_weights_are() -> None:
    """All of them here but the head's, which an override keeps, and what has no two signs, which a note names."""
    _, integer, declined = both(net(), weights="binary", activations="binary", overrides={"head": "int8"})
    assert len(of(integer, ConvXnor)) == 2
    assert len(of(integer, ConvInteger)) == 1
    (why,) = declined
    assert "its input stays int8" in why and "of one sign" in why
    _, integer, _ = both(net(), activations="binary")
    assert not of(integer, ConvXnor)


def test_groups_have_no_form_on_signs() -> None:
    g = Weights()
    graph = g.graph(Conv(group=2)(g.x(1, 4, 3, 3), g.w(4, 2, 1, 1), g.w(4)))
    _, integer, (why,) = both(graph, weights="binary", activations="binary")
    assert "in groups" in why
    assert len(of(integer, ConvInteger)) == 1


def test_only_the_layer_takes_the_signs() -> None:
    """Another reader of the same value gets all of its bits."""
    g = Weights()
    x = Conv()(g.x(1, 2, 3, 3), g.w(4, 2, 1, 1), g.w(4))
    graph = g.graph(Conv()(x, g.w(3, 4, 1, 1), g.w(3), name="a"), Conv()(x, g.w(3, 4, 1, 1), g.w(3), name="b"))
    qdq, integer, _ = both(graph, overrides={"a": "xnor"})
    (signs,) = of(qdq, Binarize)
    assert [n.name for n in qdq.uses[signs]] == ["a"]
    assert isinstance(qdq.node("b").inputs[0].op, Dequantize)
    assert len(of(integer, ConvXnor)) == 1 and len(of(integer, ConvInteger)) == 2


def test_the_scale_is_the_mean_magnitude() -> None:
    graph = net()
    qdq, _, _ = both(graph, overrides={"inner": "xnor"})
    (signs,) = of(qdq, Binarize)
    stem = replace(graph, outputs=graph.node("stem").results, output_names=())
    seen = np.concatenate([stem(x)[0] for x in samples(graph)])
    np.testing.assert_allclose(float(np.asarray(signs.node.inputs[1].constant)), np.abs(seen).mean(), rtol=1e-3)


def test_the_scheme_of_signs() -> None:
    scheme = Scheme(weights="int4", activations="int16", overrides={"a": "xnor", "b": "binary", "c": "int8"})
    assert [scheme.reads_signs(n) for n in "abcd"] == [True, False, False, False]
    assert [scheme.weight_bits(n) for n in "abcd"] == [1, 1, 8, 4]
    assert [scheme.activation_bits(n) for n in "abcd"] == [16, 16, 8, 16]
    scheme = Scheme(weights="binary", activations="binary", overrides={"b": "binary", "c": "int8", "d": "int16"})
    assert [scheme.reads_signs(n) for n in "abcd"] == [True, True, False, True]
    assert [scheme.activation_bits(n) for n in "abcd"] == [8, 8, 8, 16]


def test_mixed_precision_has_no_signs() -> None:
    """What a layer loses by them is not what it loses by its weights alone, which is what is measured."""
    with pytest.raises(InvalidInput, match="no binary activations"):
        MixedPrecision(calibration=samples(net()), activations="binary")(net())


def test_dynamic_ranges_have_no_signs() -> None:
    for options in ({"activations": "binary", "weights": "binary"}, {"overrides": {"inner": "xnor"}}):
        with pytest.raises(InvalidInput, match="no binary activations"):
            Quantize(mode="dynamic", **options)(net())  # type: ignore[arg-type]


def test_a_layer_in_float_reads_no_signs() -> None:
    """With every region in float the graph is the one that was quantized."""
    graph = net()
    qdq, _, _ = both(graph, overrides={"inner": "xnor"})
    real = in_float(qdq, graph, regions(qdq))
    for x in samples(graph):
        np.testing.assert_array_equal(real(x)[0], graph(x)[0])


def test_a_bias_keeps_its_parts_of_a_product() -> None:
    """Sums of few products have steps as large as the results; a bias between two of them must not be rounded away."""
    g = Weights()
    x = g.x(1, 2, 1, 1)
    graph = g.graph(Conv()(x, g.w(3, 2, 1, 1), g.w(3)))
    qdq, integer, _ = both(graph, weights="binary", activations="binary")
    (acc,) = of(integer, ConvXnor)
    assert isinstance(acc.op, ConvXnor) and acc.op.unit == 1 << 16
    step = float(np.asarray(qdq.outputs[0].node.inputs[1].constant))
    for x_ in samples(graph):
        assert np.abs(integer(x_)[0] - qdq(x_)[0]).max() <= step * 1.001


@pytest.mark.parametrize("bias", [2.0**20, 2.0**29, 2.0**30.9])
def test_what_a_product_counts_leaves_room(bias: float) -> None:
    sums = np.array([0.0, -bias])
    unit = unit_of(sums, 1000)
    assert 1 <= unit <= 1 << 16
    assert ((np.abs(sums) + 2000) * unit < 2**31).all()
    with pytest.raises(Decline, match="channel 1 may overflow"):
        unit_of(sums, 1 << 30)
