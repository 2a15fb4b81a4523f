"""The common ONNX operators, each as several opsets have it, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from frontends.onnx_models import FLOAT, IMAGE, Case, W, check, floats, ints, make, node
from graphopt import ops
from graphopt.frontends import load

CASES: dict[str, Case] = {
    **{op.lower(): (node(op), {}, 17) for op in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Exp", "Neg", "Abs")},
    "leaky_relu": (node("LeakyRelu", alpha=0.2), {}, 17),
    "hard_sigmoid": (node("HardSigmoid", alpha=0.3), {}, 17),
    "clip": (node("Clip", ["x", "lo", "hi"]), {"lo": np.float32(-0.5), "hi": np.float32(1)}, 17),
    "clip_low": (node("Clip", ["x", "lo"]), {"lo": np.float32(0)}, 13),
    "clip_7": (node("Clip", min=-0.5, max=0.5), {}, 7),
    "add": (node("Add", ["x", "c"]), {"c": floats(4, 1, 8)}, 17),
    "sub": (node("Sub", ["c", "x"]), {"c": np.float32(2)}, 7),
    "mul": (node("Mul", ["x", "x"]), {}, 17),
    "div": (node("Div", ["x", "c"]), {"c": floats(8) + 3}, 17),
    "pow_int": (node("Pow", ["x", "c"]), {"c": np.int64(2)}, 17),
    "sum": (node("Sum", ["x", "c", "x"]), {"c": floats(8)}, 17),
    "min": (node("Min", ["x", "c"]), {"c": floats(8)}, 17),
    "max": (node("Max", ["x", "c", "d"]), {"c": floats(8), "d": floats(8, 8, seed=3)}, 17),
    "reciprocal": (node("Reciprocal"), {}, 17),
    "dropout": (node("Dropout", ratio=0.3), {}, 7),
    "dropout_13": (node("Dropout", ["x", "r"]), {"r": np.float32(0.3)}, 13),
    "identity": (node("Identity"), {}, 17),
    "conv": (node("Conv", ["x", "w", "b"], pads=[1, 0, 2, 1], strides=[2, 1]), {"w": W, "b": floats(6)}, 17),
    "conv_same_upper": (node("Conv", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2]), {"w": W}, 9),
    "conv_same_lower": (node("Conv", ["x", "w"], auto_pad="SAME_LOWER", strides=[2, 2]), {"w": W}, 17),
    "conv_valid": (node("Conv", ["x", "w"], auto_pad="VALID", kernel_shape=[3, 3]), {"w": W}, 7),
    "conv_group": (node("Conv", ["x", "w"], group=2, dilations=[2, 1]), {"w": floats(6, 2, 3, 3)}, 11),
    "conv_transpose": (
        node("ConvTranspose", ["x", "w", "b"], strides=[2, 2], pads=[1, 1, 0, 1], output_padding=[1, 0]),
        {"w": floats(4, 3, 3, 3), "b": floats(3)},
        17,
    ),
    "conv_transpose_same": (
        node("ConvTranspose", ["x", "w"], strides=[2, 2], auto_pad="SAME_UPPER"),
        {"w": floats(4, 3, 3, 3)},
        11,
    ),
    "conv_transpose_shape": (
        node("ConvTranspose", ["x", "w"], strides=[2, 2], output_shape=[16, 15]),
        {"w": floats(4, 3, 3, 3)},
        11,
    ),
    "batch_norm": (
        node("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=1e-3),
        {"s": floats(4), "b": floats(4, seed=1), "m": floats(4, seed=2), "v": floats(4, seed=3) + 3},
        15,
    ),
    "batch_norm_7": (
        node("BatchNormalization", ["x", "s", "b", "m", "v"]),
        {"s": floats(4), "b": floats(4, seed=1), "m": floats(4, seed=2), "v": floats(4, seed=3) + 3},
        7,
    ),
    "max_pool": (node("MaxPool", kernel_shape=[5, 5], pads=[2, 2, 2, 2]), {}, 12),
    "max_pool_ceil": (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), {}, 12),
    "max_pool_same": (node("MaxPool", kernel_shape=[3, 2], strides=[3, 2], auto_pad="SAME_LOWER"), {}, 8),
    "average_pool": (node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), {}, 11),
    "average_pool_all": (node("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 1, 1], count_include_pad=1), {}, 11),
    "average_pool_ceil": (node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), {}, 19),
    "global_average_pool": (node("GlobalAveragePool"), {}, 7),
    "global_max_pool": (node("GlobalMaxPool"), {}, 7),
    "reduce_mean": (node("ReduceMean", axes=[-1, 2], keepdims=0), {}, 11),
    "reduce_mean_18": (node("ReduceMean", ["x", "a"]), {"a": ints(2, 3)}, 18),
    "reduce_sum": (node("ReduceSum", ["x", "a"]), {"a": ints(1)}, 13),
    "reduce_sum_11": (node("ReduceSum", axes=[1], keepdims=0), {}, 11),
    "reduce_sum_noop": (node("ReduceSum", noop_with_empty_axes=1), {}, 13),
    "reduce_max": (node("ReduceMax", axes=[1, 3]), {}, 13),
    "softmax": (node("Softmax", axis=-1), {}, 13),
    "softmax_default": (node("Softmax"), {}, 13),
    "softmax_flattening": (node("Softmax", axis=2), {}, 9),
    "softmax_old_last": (node("Softmax", axis=3), {}, 11),
    "reshape": (node("Reshape", ["x", "s"]), {"s": ints(0, -1, 16)}, 17),
    "reshape_merge": (node("Reshape", ["x", "s"]), {"s": ints(-1, 64)}, 17),
    "flatten": (node("Flatten", axis=2), {}, 17),
    "flatten_negative": (node("Flatten", axis=-1), {}, 13),
    "squeeze_chain": (node("Unsqueeze", axes=[1, -1]), {}, 11),
    "unsqueeze": (node("Unsqueeze", ["x", "a"]), {"a": ints(-1, 0)}, 13),
    "transpose": (node("Transpose", perm=[0, 3, 1, 2]), {}, 17),
    "concat": (node("Concat", ["x", "x"], axis=-1), {}, 17),
    "slice_old": (node("Slice", axes=[1, -1], starts=[1, -3], ends=[9999, 9223372036854775807]), {}, 7),
    "slice": (
        node("Slice", ["x", "b", "e", "a", "s"]),
        {"b": ints(0, 0, -6), "e": ints(2**31 - 1, 3, -1), "a": ints(0, 1, 3), "s": ints(1, 2, 2)},
        13,
    ),
    "gather_one": (node("Gather", ["x", "i"], axis=1), {"i": np.int64(-1)}, 17),
    "gather_range": (node("Gather", ["x", "i"], axis=2), {"i": ints(1, 3, 5)}, 17),
    "pad_old": (node("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=1.5), {}, 7),
    "pad": (node("Pad", ["x", "p"]), {"p": ints(0, 1, 1, 0, 0, 0, 2, 0)}, 13),
    "pad_crop": (node("Pad", ["x", "p", "v"]), {"p": ints(0, 0, -1, 2, 0, 0, 1, -3), "v": np.float32(-1)}, 13),
    "pad_axes": (node("Pad", ["x", "p", "", "a"]), {"p": ints(1, 2, 3, 4), "a": ints(-1, 1)}, 18),
    "expand": (node("Expand", ["x", "s"]), {"s": ints(3, 1, 1, 1, 1)}, 17),
    "tile": (node("Tile", ["x", "r"]), {"r": ints(1, 2, 1, 3)}, 17),
    "upsample_7": (node("Upsample", scales=[1.0, 1.0, 2.0, 3.0]), {}, 7),
    "upsample_9": (node("Upsample", ["x", "s"]), {"s": np.array([1, 1, 2, 2], np.float32)}, 9),
    "resize_10": (node("Resize", ["x", "s"]), {"s": np.array([1, 1, 2, 2], np.float32)}, 10),
    "resize_scales": (node("Resize", ["x", "", "s"]), {"s": np.array([1, 1, 2, 2], np.float32)}, 13),
    "resize_sizes": (
        node(
            "Resize", ["x", "", "", "s"], coordinate_transformation_mode="asymmetric", nearest_mode="floor", axes=[2, 3]
        ),
        {"s": ints(11, 5)},
        18,
    ),
    "depth_to_space": (node("DepthToSpace", blocksize=2), {}, 17),
    "depth_to_space_crd": (node("DepthToSpace", blocksize=2, mode="CRD"), {}, 13),
    "matmul": (node("MatMul", ["x", "w"]), {"w": floats(8, 5)}, 17),
    "matmul_vector": (node("MatMul", ["x", "w"]), {"w": floats(8)}, 17),
    "matmul_left": (node("MatMul", ["w", "x"]), {"w": floats(5, 8)}, 17),
    "matmul_row": (node("MatMul", ["w", "x"]), {"w": floats(8)}, 17),
    "cast_same": (node("Cast", to=FLOAT), {}, 17),
    "sqrt": (node("Sqrt"), {}, 17),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_operator(name: str) -> None:
    one, constants, opset = CASES[name]
    if name == "sqrt":
        nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"], name="the_Sqrt")]
    else:
        nodes = [one]
    graph = check(make(nodes, {"x": IMAGE}, constants, opset))
    assert graph.is_symbolic and graph.output_names == ("y",)


def test_swish() -> None:
    graph = load(make([node("Swish")], {"x": ["N", 4]}, opset=24))
    x = floats(2, 4)
    np.testing.assert_allclose(graph(x)[0], x / (1 + np.exp(-x)), rtol=1e-6)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21, 23])
@pytest.mark.parametrize("fields", [{}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0}, {"transA": 1, "transB": 1}])
@pytest.mark.parametrize("bias", [(5,), (1, 5), (), (4, 5)])
def test_gemm(opset: int, fields: dict[str, Any], bias: tuple[int, ...]) -> None:
    weight = floats(5, 6) if "transB" in fields else floats(6, 5)
    shape = (6, 4) if "transA" in fields else (4, 6)
    model = make([node("Gemm", ["x", "w", "c"], **fields)], {"x": shape}, {"w": weight, "c": floats(*bias)}, opset)
    graph = check(model)
    assert any(isinstance(n.op, ops.Linear) for n in graph.nodes)
    assert "w" in graph.names.values()


def test_gemm_of_inputs() -> None:
    one = node("Gemm", ["x", "w", "c"], alpha=0.5, beta=2.0, transB=1)
    check(make([one], {"x": [3, 4], "w": [5, 4], "c": [5]}))


def test_split_forms() -> None:
    for opset, inputs, fields, constants in (
        (11, ["x"], {"split": [1, 3]}, {}),
        (13, ["x", "s"], {}, {"s": ints(1, 3)}),
        (13, ["x"], {}, {}),
        (18, ["x"], {"num_outputs": 2}, {}),
    ):
        one = node("Split", inputs, ["y", "z"], axis=1, **fields)
        graph = check(make([one], {"x": IMAGE}, constants, opset, ["y", "z"]))
        assert graph.output_names == ("y", "z")
