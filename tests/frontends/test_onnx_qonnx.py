"""The quantisers of QONNX against their definition, and models of them on integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import graphopt
from frontends.onnx_models import floats, make
from graphopt.errors import GraphoptError
from graphopt.frontends import load
from graphopt.ops import Dequantize
from graphopt.passes import Context, Pipeline, default_pipeline

QONNX, BREVITAS = "qonnx.custom_op.general", "onnx.brevitas"


def quant(x: np.ndarray, scale: Any, zero: Any, bits: float, signed: int, narrow: int) -> np.ndarray:
    """What QONNX defines: scaled, clamped, rounded half to even, scaled back, in float32."""
    steps = x / np.float32(scale) + np.float32(zero)
    low, high = (narrow - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1 - narrow)
    if bits == 1 and signed:
        steps = np.where(steps >= 0, np.float32(1), np.float32(-1))
    else:
        steps = np.round(np.clip(steps, np.float32(low), np.float32(high)))
    return ((steps - np.float32(zero)) * np.float32(scale)).astype(np.float32)


class Quant(OpRun):
    op_domain = QONNX

    def _run(self, x: Any, scale: Any, zero: Any, bits: Any, signed: Any, narrow: Any, rounding_mode: Any) -> Any:
        return (quant(x, scale, zero, float(bits), signed, narrow),)


def one(
    x: tuple[int, ...] | np.ndarray,
    scale: Any,
    zero: Any = 0.0,
    bits: float = 8,
    domain: str = QONNX,
    op: str = "Quant",
    **attributes: Any,
) -> onnx.ModelProto:
    """A quantiser of an input of a shape, or of a constant."""
    given = {"s": np.float32(scale), "z": np.float32(zero), "b": np.float32(bits)}
    shapes = {"x": x} if isinstance(x, tuple) else {"unused": (1,)}
    constants = given if isinstance(x, tuple) else {**given, "x": x}
    inputs = ["x", "s"] if op == "BipolarQuant" else ["x", "s", "z", "b"]
    model = make([helper.make_node(op, inputs, ["y"], "q", domain=domain, **attributes)], shapes, constants)
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def ramp(scale: float) -> np.ndarray:
    """Numbers on steps, between them, where that is exact halfway too, and far outside of any limits."""
    steps = np.concatenate([np.arange(-300, 300, 0.25 if scale == 0.25 else 0.2), [-1e30, 1e30]])
    return (steps * scale).astype(np.float32).reshape(2, -1)


CASES = [
    (bits, signed, narrow, zero)
    for bits in (1, 2, 3, 4, 7, 8, 9, 16)
    for signed in (0, 1)
    for narrow in (0, 1)
    for zero in (0, 2)
    if bits > 1 or not (narrow or zero)
]


@pytest.mark.parametrize("scale", [0.25, 0.0371])
@pytest.mark.parametrize("fixed", [False, True])
def test_quant_is_what_qonnx_defines(scale: float, fixed: bool) -> None:
    x = ramp(scale)
    for bits, signed, narrow, zero in CASES:
        model = one(x if fixed else x.shape, scale, zero, bits, signed=signed, narrow=narrow)
        (got,) = load(model)(np.zeros(1, np.float32) if fixed else x)
        np.testing.assert_array_equal(got, quant(x, scale, zero, bits, signed, narrow), f"{bits, signed, narrow, zero}")


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (1, 3, 1, 4)])
def test_scales_by_channel(shape: tuple[int, ...], fixed: bool) -> None:
    x, scale = floats(2, 3, 5, 4), np.abs(floats(*shape)) + 0.1
    (got,) = load(one(x if fixed else x.shape, scale, bits=3, signed=1, narrow=1))(x[:1, 0, 0, 0] if fixed else x)
    np.testing.assert_array_equal(got, quant(x, scale, 0, 3, 1, 1))


@pytest.mark.parametrize("fixed", [False, True])
def test_bipolar(fixed: bool) -> None:
    x = np.array([[-1.5, -0.0, 0.0, 2.0]], np.float32)
    (got,) = load(one(x if fixed else x.shape, 0.5, domain=BREVITAS, op="BipolarQuant"))(x[0, :1] if fixed else x)
    np.testing.assert_array_equal(got, [[-0.5, 0.5, 0.5, 0.5]])


REFUSED = {
    "rounding": ({"rounding_mode": "FLOOR"}, "rounding mode FLOOR"),
    "zero_point": ({"zero": 0.5}, "zero point that is no integer"),
    "wide": ({"bits": 17}, "17 bits"),
    "fraction": ({"bits": 7.5}, "bit width"),
    "scale": ({"scale": 0.0}, "positive"),
    "width": ({"bits": np.nan}, "bit width"),
    "zero_points": ({"scale": np.ones((1, 3)), "zero": np.zeros((2, 1))}, "zero points of shape"),
    "channels": ({"scale": np.ones((1, 4))}, "scales of shape"),
    "single": ({"bits": 1, "narrow": 1, "signed": 0}, "a grid of one number"),
    "sign_with_zero": ({"bits": 1, "zero": 1.0}, "one bit with a zero point"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_grids_that_integers_do_not_have_are_refused(case: str) -> None:
    options, reason = REFUSED[case]
    with pytest.raises(GraphoptError, match=f"(?s)q .*{reason}"):
        load(one((2, 3), **{"scale": 1.0, "signed": 1, **options}))


def test_constants_must_be_finite_floats() -> None:
    for x, reason in ((np.float32([[np.nan]]), "NaN or infinite"), (np.array([[1]]), "quantizes int64")):
        with pytest.raises(GraphoptError, match=f"q .*{reason}"):
            load(one(x, 1.0, signed=1))


def net(bits: int) -> onnx.ModelProto:
    """As Brevitas writes it: a convolution with a quantized bias, a ReLU, a dense layer by a transposed matrix."""
    rng = np.random.default_rng(0)
    weight, dense = floats(8, 3, 3, 3), floats(10, 8)
    step = 2 ** (bits - 1) - 1
    constants = {
        "w": weight,
        "ws": np.abs(weight).max((1, 2, 3), keepdims=True) / step,
        "d": dense,
        "ds": np.float32(np.abs(dense).max() / step),
        "bias": rng.standard_normal(8).astype(np.float32),
        "xs": np.float32(2 / 127),
        "rs": np.float32(9 / (2**bits - 1)),
        "ys": np.float32(12 / 127),
        "zero": np.float32(0),
        "bits": np.float32(bits),
        "b8": np.float32(8),
        "b32": np.float32(32),
    }
    constants["bs"] = (constants["ws"] * constants["xs"]).reshape(-1)
    signed, narrow = {"signed": 1, "narrow": 0}, {"signed": 1, "narrow": 1}

    def to_grid(x: str, scale: str, width: str, y: str, **attributes: int) -> onnx.NodeProto:
        options = {"rounding_mode": "ROUND", **attributes}
        return helper.make_node("Quant", [x, scale, "zero", width], [y], domain=QONNX, **options)

    nodes = [
        to_grid("x", "xs", "b8", "xq", **signed),
        to_grid("w", "ws", "bits", "wq", **narrow),
        to_grid("bias", "bs", "b32", "bq", **signed),
        helper.make_node("Conv", ["xq", "wq", "bq"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        to_grid("r", "rs", "bits", "rq", signed=0, narrow=0),
        helper.make_node("GlobalMaxPool", ["rq"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        to_grid("d", "ds", "bits", "dq", **narrow),
        helper.make_node("Transpose", ["dq"], ["dt"], perm=[1, 0]),
        helper.make_node("MatMul", ["f", "dt"], ["m"], name="dense"),
        to_grid("m", "ys", "b8", "y", **signed),
    ]
    model = make(nodes, {"x": ["N", 3, 8, 6]}, {k: np.asarray(v, np.float32) for k, v in constants.items()})
    model.opset_import.append(helper.make_opsetid(QONNX, 1))
    return model


def normed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a batch norm behind its convolution, some of the factors negative."""
    rng = np.random.default_rng(3)
    drawn = {"gain": rng.uniform(-1.5, 1.5, 8), "shift": rng.standard_normal(8), "mean": rng.standard_normal(8)}
    drawn["variance"] = rng.uniform(0.5, 2, 8)
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in drawn.items())
    place = [n.name for n in model.graph.node].index("conv")
    model.graph.node[place].output[0] = "before"
    model.graph.node.insert(place + 1, helper.make_node("BatchNormalization", ["before", *drawn], ["c"], name="norm"))
    return model


@pytest.mark.parametrize(("bits", "norm"), [(2, False), (4, False), (8, False), (4, True), (8, True)])
def test_a_model_runs_on_integers(bits: int, norm: bool) -> None:
    model = normed(net(bits)) if norm else net(bits)
    graph, x = load(model), floats(1, 3, 8, 6, seed=1)
    (want,) = ReferenceEvaluator(model, new_ops=[Quant]).run(None, {"x": x})
    step = float(numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "ys")))
    np.testing.assert_allclose(graph(x)[0], want, atol=1e-5)
    context = Context()
    small = Pipeline(default_pipeline())(graph, context)
    assert not [n for n in context.notes if n.pass_name == "lower-integer" and n.declined]
    assert sum(isinstance(n.op, Dequantize) for n in small.nodes) == 1
    for seed in range(8):
        x = floats(1, 3, 8, 6, seed=seed)
        (want,) = ReferenceEvaluator(model, new_ops=[Quant]).run(None, {"x": x})
        assert np.abs(small(x)[0] - want).max() <= 1.01 * step
    program = graphopt.compile(small, "cortex-m4", io="float32")
    np.testing.assert_array_equal(program.run(x), small(x)[0])
