"""The wider set of ONNX operators against ONNX Runtime, with a free batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from frontends.onnx_models import IMAGE, Case, check, floats, ints, make, node
from graphopt.frontends import load

SCALES = {"s": np.array([1, 1, 1.5, 2], np.float32)}
HALF = {"s": np.array([1, 1, 0.5, 0.6], np.float32)}

BACK = {"b": ints(6, -1), "e": ints(1, -(2**31)), "a": ints(2, 3), "s": ints(-2, -1)}
PLACES = {"i": np.tile(ints(1, -1, 0), (2, 4, 8, 1))}
STEPS = {"s": floats(4) + 2.5, "z": np.array([0, 1, 5, -3], np.int8)}

CASES: dict[str, Case] = {
    **{
        op.lower(): (node(op), {}, 22)
        for op in ("Ceil", "Floor", "Round", "Sign", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Atan", "Asinh", "Erf")
    },
    **{
        op.lower(): (node(op), {}, 22)
        for op in ("Elu", "Celu", "Selu", "Softplus", "Softsign", "Mish", "ThresholdedRelu", "Gelu")
    },
    "shrink": (node("Shrink", bias=0.1, lambd=0.7), {}, 22),
    "gelu_tanh": (node("Gelu", approximate="tanh"), {}, 22),
    "prelu": (node("PRelu", ["x", "s"]), {"s": floats(4, 1, 1)}, 16),
    "mean": (node("Mean", ["x", "c", "x"]), {"c": floats(8)}, 13),
    "mod": (node("Mod", ["x", "c"], fmod=1), {"c": floats(8) + 3}, 13),
    "cast_double": (node("Cast", to=TensorProto.DOUBLE), {}, 13),
    "cast_int": (node("Cast", to=TensorProto.INT32), {}, 13),
    "softmax_log": (node("LogSoftmax", axis=1), {}, 13),
    "softmax_log_old": (node("LogSoftmax", axis=2), {}, 11),
    "hardmax": (node("Hardmax", axis=1), {}, 13),
    "layer_norm": (node("LayerNormalization", ["x", "s", "b"], axis=-2), {"s": floats(8, 8), "b": floats(8, 8)}, 17),
    "layer_norm_plain": (node("LayerNormalization", ["x", "s"]), {"s": floats(8)}, 17),
    "instance_norm": (node("InstanceNormalization", ["x", "s", "b"]), {"s": floats(4), "b": floats(4)}, 17),
    "group_norm": (node("GroupNormalization", ["x", "s", "b"], num_groups=2), {"s": floats(4), "b": floats(4)}, 21),
    "rms_norm": (node("RMSNormalization", ["x", "s"]), {"s": floats(8)}, 23),
    "lrn": (node("LRN", size=3, alpha=0.1, beta=0.5, bias=2.0), {}, 13),
    "lp_norm": (node("LpNormalization", axis=1, p=1), {}, 13),
    "mean_variance_norm": (node("MeanVarianceNormalization", axes=[2, 3]), {}, 13),
    **{
        f"reduce_{op.lower()}": (node(f"Reduce{op}", axes=[1, -1], keepdims=0), {}, 13)
        for op in ("L1", "L2", "LogSumExp", "SumSquare", "Prod", "Min")
    },
    "arg_max": (node("ArgMax", axis=1, keepdims=0), {}, 13),
    "arg_min_last": (node("ArgMin", axis=-1, select_last_index=1), {}, 13),
    "cum_sum": (node("CumSum", ["x", "a"], exclusive=1, reverse=1), {"a": np.int64(2)}, 14),
    "lp_pool": (node("LpPool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], strides=[2, 2], p=2), {}, 18),
    "global_lp_pool": (node("GlobalLpPool", p=3), {}, 13),
    "average_pool_ceil_all": (
        node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1),
        {},
        19,
    ),
    "conv_transpose_larger": (
        node("ConvTranspose", ["x", "w"], strides=[3, 3], output_shape=[24, 25], output_padding=[1, 2]),
        {"w": floats(4, 2, 2, 2)},
        11,
    ),
    "col2im": (
        node("Col2Im", ["c", "i", "k"], strides=[2, 1], pads=[1, 0, 0, 1]),
        {"i": ints(5, 4), "k": ints(2, 2)},
        18,
    ),
    "slice_back": (node("Slice", ["x", "b", "e", "a", "s"]), BACK, 13),
    **{
        f"pad_{mode}": (node("Pad", ["x", "p"], mode=mode), {"p": ints(0, 1, 3, 0, 0, 0, 2, 4)}, 19)
        for mode in ("reflect", "edge", "wrap")
    },
    "gather_scattered": (node("Gather", ["x", "i"], axis=1), {"i": np.array([[2, 0], [-1, 2]])}, 17),
    "gather_elements": (node("GatherElements", ["x", "i"], axis=3), PLACES, 17),
    "compress": (node("Compress", ["x", "c"], axis=2), {"c": np.arange(8) % 3 == 0}, 17),
    "trilu": (node("Trilu", ["x", "k"], upper=0), {"k": np.int64(1)}, 14),
    "space_to_depth": (node("SpaceToDepth", blocksize=2), {}, 13),
    "center_crop_pad": (node("CenterCropPad", ["x", "s"], axes=[2, 3]), {"s": ints(5, 11)}, 18),
    "resize_linear": (node("Resize", ["x", "", "s"], mode="linear"), SCALES, 19),
    "resize_linear_down": (node("Resize", ["x", "", "s"], mode="linear"), HALF, 19),
    "resize_antialias": (node("Resize", ["x", "", "s"], mode="linear", antialias=1), HALF, 19),
    "resize_cubic": (node("Resize", ["x", "", "s"], mode="cubic"), SCALES, 19),
    "resize_cubic_outside": (
        node("Resize", ["x", "", "s"], mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5),
        HALF,
        19,
    ),
    "resize_align": (
        node("Resize", ["x", "", "s"], mode="linear", coordinate_transformation_mode="align_corners"),
        SCALES,
        19,
    ),
    "resize_nearest_ceil": (node("Resize", ["x", "", "s"], nearest_mode="ceil"), SCALES, 19),
    "upsample_linear": (node("Upsample", ["x", "s"], mode="linear"), {"s": np.array([1, 1, 2, 3], np.float32)}, 9),
    "einsum": (node("Einsum", ["x", "w"], equation="nchw,ck->nhwk"), {"w": floats(4, 5)}, 12),
    "einsum_dots": (node("Einsum", ["x", "x"], equation="...ij,...kj->...ik"), {}, 12),
    "quantize": (node("QuantizeLinear", ["x", "s", "z"]), STEPS, 13),
    "not_a_number": (node("IsNaN"), {}, 13),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_operator(name: str) -> None:
    one, constants, opset = CASES[name]
    shapes: dict[str, Sequence[int | str | None]] = {
        "gather_elements": {"x": (2, 4, 8, 8)},
        "col2im": {"c": ("N", 12, 12)},
    }.get(name, {"x": IMAGE})
    graph = check(untyped(make([one], shapes, constants, opset)))
    assert graph.is_symbolic == (name != "gather_elements")


def untyped(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without types of its outputs, which are not all floats."""
    for output in model.graph.output:
        output.ClearField("type")
    return model


@pytest.mark.parametrize("one", [node("EyeLike"), node("Squeeze")])
def test_a_shape_that_depends_on_the_batch_fixes_it(one: onnx.NodeProto) -> None:
    """At a batch of one, Squeeze removes its axis as well: the graph cannot leave N open."""
    model = make([one], {"x": ("N", 3)})
    assert not load(model).is_symbolic
    x = floats(2, 3)
    want = np.eye(2, 3, dtype=np.float32) if one.op_type == "EyeLike" else x
    np.testing.assert_array_equal(load(model, batch=2)(x)[0], want)
    assert load(make([node("Squeeze")], {"x": ("N", 3)}), batch=1).outputs[0].type.shape == (3,)
