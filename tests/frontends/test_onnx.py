"""ONNX models against ONNX Runtime."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracle import session

from graphopt import ops
from graphopt.errors import GraphoptError, InvalidInput, Unsupported
from graphopt.frontends import load
from graphopt.ir import Batch, Constant, Graph, parse, print_graph

FLOAT = TensorProto.FLOAT


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)


def make(
    nodes: Sequence[onnx.NodeProto],
    shapes: dict[str, Sequence[int | str | None]],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "net", inputs, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def feeds(graph: Graph, batch: int) -> dict[str, np.ndarray]:
    shapes = [[d.factor * batch if isinstance(d, Batch) else d for d in v.type.shape] for v in graph.inputs]
    names = [graph.names[v.node] for v in graph.inputs]
    return {n: floats(*s, seed=i + batch) for i, (n, s) in enumerate(zip(names, shapes, strict=True))}


def compare(graph: Graph, source: bytes | str, batches: Sequence[int] = (1, 3)) -> None:
    """The graph equals ONNX Runtime at each batch."""
    reference = session(source)
    for batch in batches if graph.is_symbolic else [1]:
        given = feeds(graph, batch)
        expected = reference.run(list(graph.output_names), given)
        for a, b in zip(graph(*given.values()), expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            assert np.abs(a - b.astype(np.float64)).max() <= 1e-5 * max(np.abs(b).max(), 1e-30)


def check(model: onnx.ModelProto) -> Graph:
    graph = load(model)
    compare(graph, model.SerializeToString())
    assert print_graph(parse(print_graph(graph), graph.constants)) == print_graph(graph)
    return graph


def node(op: str, inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, name=f"the_{op}", **attributes)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


IMAGE = ("N", 4, 8, 8)
Case = tuple[onnx.NodeProto, dict[str, Any], int]
W = floats(6, 4, 3, 3)

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


def small_net(opset: int) -> onnx.ModelProto:
    """One small net, written as each opset has it."""
    old = opset < 13
    axes, inputs = ({"axes": [2, 3]}, []) if old else ({}, ["axes"])
    pads = {"pads": [0, 0, 1, 1, 0, 0, 1, 1]} if opset < 11 else {}
    limits = {"min": 0.0, "max": 6.0} if opset < 11 else {}
    nodes = [
        helper.make_node("Pad", ["x"] if pads else ["x", "pads"], ["p"], name="pad", **pads),
        helper.make_node("Conv", ["p", "w", "b"], ["c"], name="conv", strides=[2, 2]),
        helper.make_node("Clip", ["c"] if limits else ["c", "lo", "hi"], ["r"], name="clip", **limits),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Squeeze", ["g", *inputs], ["s"], name="squeeze", **axes),
        helper.make_node("Gemm", ["s", "fc", "fb"], ["l"], name="fc1", **({"broadcast": 1} if opset < 7 else {})),
        helper.make_node("Softmax", ["l"], ["y"], name="softmax"),
    ]
    constants = {"w": W, "b": floats(6), "fc": floats(6, 3), "fb": floats(3)}
    constants |= {} if pads else {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "lo": np.float32(0), "hi": np.float32(6)}
    constants |= {} if old else {"axes": ints(2, 3)}
    return make(nodes, {"x": IMAGE}, constants, opset)


@pytest.mark.parametrize("opset", [6, 7, 9, 11, 13, 17, 21, 23])
def test_network_in_every_opset(opset: int) -> None:
    graph = load(small_net(opset))
    assert {"pad", "conv", "clip", "pool", "fc1", "softmax", "x", "w"} <= set(graph.names.values())
    compare(graph, small_net(max(opset, 7)).SerializeToString())  # ONNX Runtime reads opset 7 and later


def test_broadcast_of_opset_6() -> None:
    model = make([node("Add", ["x", "b"], broadcast=1, axis=1)], {"x": IMAGE}, {"b": floats(4)}, 6)
    x = floats(2, 4, 8, 8)
    np.testing.assert_array_equal(load(model)(x)[0], x + floats(4)[:, None, None])


def flattening(*rest: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Shape -> Gather -> Unsqueeze -> Concat -> Reshape, as exporters write ``x.view(x.size(0), -1)``."""
    return [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.int64(0))),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["row"]),
        helper.make_node("Concat", ["row", "minus"], ["target"], axis=0),
        *rest,
    ]


def test_shape_computation_folds_away() -> None:
    nodes = flattening(helper.make_node("Reshape", ["x", "target"], ["y"]))
    graph = check(make(nodes, {"x": IMAGE}, {"axes": ints(0), "minus": ints(-1)}))
    assert [n.op for n in graph.nodes[1:]] == [ops.Reshape(shape=(Batch(), 256))]


def test_shape_arithmetic() -> None:
    """Sizes multiplied, divided, compared and chosen."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "i0", "i1"], ["n"]),
        helper.make_node("Slice", ["shape", "i2", "i4"], ["hw"]),
        helper.make_node("ReduceProd", ["hw"], ["area"], keepdims=1),
        helper.make_node("Mul", ["n", "two"], ["n2"]),
        helper.make_node("Div", ["n2", "two"], ["n1"]),
        helper.make_node("Cast", ["n1"], ["n64"], to=TensorProto.INT64),
        helper.make_node("Concat", ["n64", "minus", "area"], ["first"], axis=0),
        helper.make_node("Equal", ["first", "minus"], ["unknown"]),
        helper.make_node("ConstantOfShape", ["three"], ["ones"], value=helper.make_tensor("v", 7, [1], [4])),
        helper.make_node("Where", ["unknown", "ones", "first"], ["chosen"]),
        helper.make_node("Reshape", ["x", "chosen"], ["y"]),
    ]
    constants = {"i0": ints(0), "i1": ints(1), "i2": ints(2), "i4": ints(4), "two": ints(2), "minus": ints(-1)}
    graph = check(make(nodes, {"x": IMAGE}, {**constants, "three": ints(3)}))
    assert graph.nodes[-1].op == ops.Reshape(shape=(Batch(), 4, 64))


def test_escaping_batch_is_told(caplog: pytest.LogCaptureFixture) -> None:
    nodes = flattening(
        helper.make_node("Add", ["row", "one"], ["more"]),
        helper.make_node("Sub", ["more", "one"], ["same"]),
        helper.make_node("Concat", ["same", "minus"], ["back"], axis=0),
        helper.make_node("Reshape", ["x", "back"], ["y"]),
    )
    graph = load(make(nodes, {"x": IMAGE}, {"axes": ints(0), "minus": ints(-1), "one": ints(1)}))
    assert graph.inputs[0].type.shape == (1, 4, 8, 8)
    assert "fixed-batch graph of 1" in caplog.text and "N + 1 is not a multiple" in caplog.text


def test_names_and_identity() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c1"], name="first"),
        helper.make_node("Conv", ["c1", "w"], ["c2"]),
        helper.make_node("MatMul", ["c2", "m"], ["m1"]),
        helper.make_node("MatMul", ["m1", "m"], ["y"]),
    ]
    graph = check(make(nodes, {"x": ["N", 4, 8, 8]}, {"w": floats(4, 4, 1, 1), "m": floats(8, 8)}))
    assert {"x", "w", "first", "first.bias", "c2", "m", "m1", "y"} <= set(graph.names.values())
    convs, linears = ([n for n in graph.nodes if isinstance(n.op, op)] for op in (ops.Conv, ops.Linear))
    assert convs[0].inputs[1] is convs[1].inputs[1] and linears[0].inputs[1] is linears[1].inputs[1]
    assert all(not n.op.value.flags.writeable for n in graph.nodes if isinstance(n.op, Constant))
    assert graph.name == "net"


def test_local_function_is_inlined() -> None:
    body = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model = make([helper.make_node("Twice", ["x"], ["y"], domain="own")], {"x": IMAGE})
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("own", 1))
    check(model)


@pytest.mark.parametrize("name", ["ad_autoencoder", "ic_resnet8", "kws_dscnn", "vww_mobilenetv1_025_96"])
def test_mlperf_tiny(name: str, shared: Path) -> None:
    path = shared / "models" / "mlperf_tiny" / f"{name}.onnx"
    graph = load(path)
    assert graph.is_symbolic and len(graph.nodes) <= len(onnx.load(path).graph.node) + 130
    assert not any(isinstance(n.op, ops.Reshape) and n.types[0].dtype == "int64" for n in graph.nodes)
    compare(graph, str(path))


def test_batch_and_shapes() -> None:
    model = make([node("Relu")], {"x": ["N", "seq", 4]})
    assert load(model, shapes={"seq": 16}).inputs[0].type.shape == (Batch(), 16, 4)
    assert load(model, batch=2, shapes={"seq": 16}).inputs[0].type.shape == (2, 16, 4)
    assert load(model, shapes={"seq": 16, "N": 3}).inputs[0].type.shape == (3, 16, 4)
    assert load(model, shapes={"x": (1, 5, 4)}).inputs[0].type.shape == (1, 5, 4)
    with pytest.raises(Unsupported, match=r"input 'x': dimension 1 is dynamic \('seq'\)\n  bind it: shapes="):
        load(model)
    with pytest.raises(InvalidInput, match="shapes names sq\n  the model has N, seq, x"):
        load(model, shapes={"sq": 1, "seq": 16})
    with pytest.raises(InvalidInput, match="the model has"):
        load(model, shapes={"x": (1, 5, 5)})
    with pytest.raises(InvalidInput, match="at least 1"):
        load(model, batch=0)
    with pytest.raises(InvalidInput, match="bound to 0"):
        load(model, shapes={"seq": 0})


def test_dynamic_dimensions_refused() -> None:
    with pytest.raises(Unsupported, match="input 'x': dimension 2 is dynamic"):
        load(make([node("Relu")], {"x": [None, 4, None]}))
    with pytest.raises(Unsupported, match=r"input 'z': dimension 0 is dynamic .'M'., and another one than the batch"):
        load(make([node("Add", ["x", "z"])], {"x": ["N", 4], "z": ["M", 4]}))
    assert load(make([node("Relu")], {"x": [None, 4]})).is_symbolic


SHAPES = {
    "named": (
        {"x": ["N", "seq", "width"], "z": ["N", "seq", 4]},
        "shapes={'seq': 16, 'width': 16}, or --shape seq=16 --shape width=16",
    ),
    "unnamed": ({"x": ["N", None, 4], "z": [None, 3, None]}, "--shape x=1,16,4 --shape z=1,3,16"),
    "empty": ({"x": ["", "", 4]}, "shapes={'x': (1, 16, 4)}, or --shape x=1,16,4"),
    "one_anonymous_name": ({"x": ["unk__0", "unk__0"], "z": [3, "unk__0"]}, "--shape x=1,16 --shape z=3,16"),
    "mixed": (
        {"x": ["N", "seq"], "z": ["M", None]},
        "shapes={'seq': 16, 'z': (1, 16)}, or --shape seq=16 --shape z=1,16",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_all_unbound_dimensions_are_named_at_once(case: str) -> None:
    shapes, advice = SHAPES[case]
    model = make([node("Identity"), *(node("Identity", [n], [f"{n}_y"]) for n in shapes if n != "x")], shapes)
    with pytest.raises(Unsupported) as caught:
        load(model)
    assert advice in str(caught.value)
    bindings = eval(str(caught.value).split("shapes=")[1].split(", or")[0])
    load(model, shapes=bindings)


def test_dimensions_of_one_anonymous_name_may_differ() -> None:
    """A batch called ``unk__0`` makes no other dimension of that name the batch."""
    graph = load(make([node("Relu")], {"x": ["unk__0", "unk__0"]}), shapes={"x": (2, 5)})
    assert graph.inputs[0].type.shape == (2, 5)
    graph = load(make([node("Add", ["x", "z"])], {"x": ["unk__0", 4], "z": ["unk__0", 4]}))
    assert [v.type.shape for v in graph.inputs] == [(Batch(), 4)] * 2


def test_all_unsupported_nodes_are_listed() -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="det"),
        helper.make_node("NonZero", ["x"], ["b"], name="places"),
        helper.make_node("Relu", ["b"], ["c"], name="fine"),
        helper.make_node("Pad", ["x", "pads"], ["d"], name="pad", mode="mirror"),
        helper.make_node("Gelu", ["d"], ["e"], domain="com.microsoft"),
        helper.make_node("MaxPool", ["x"], ["f", "where"], name="pool", kernel_shape=[2, 2]),
        helper.make_node("Add", ["c", "e"], ["y"]),
    ]
    constants = {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    with pytest.raises(Unsupported) as caught:
        load(make(nodes, {"x": IMAGE}, constants, outputs=["y", "f", "where"]))
    text = str(caught.value)
    assert text.startswith("net: 5 nodes cannot be imported")
    assert "places (NonZero): the shape of its result depends on data" in text
    for part in ("det (Det)", "'mirror'", "e (com.microsoft:Gelu)", "pool (MaxPool): result 1"):
        assert part in text
    assert "fine" not in text


@pytest.mark.parametrize("name", ["m.pt", "m.PTH", "m.pt2", "m.pkl"])
def test_torch_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(make([node("Relu")], {"x": IMAGE}).SerializeToString())
    with pytest.raises(InvalidInput, match="export it to ONNX"):
        load(path)


def test_pickles_and_archives_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    for protocol in (2, 3, 4, 5):
        (tmp_path / "model.onnx").write_bytes(pickle.dumps(Evil(), protocol))
        with pytest.raises(InvalidInput, match="file of PyTorch or an archive"):
            load(tmp_path / "model.onnx")
    with zipfile.ZipFile(tmp_path / "model.onnx", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Evil()))
    with pytest.raises(InvalidInput, match="file of PyTorch or an archive"):
        load(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"\x1c\0\0\0TFL3")
    with pytest.raises(InvalidInput, match="TFLite"):
        load(tmp_path / "model.onnx")
    assert not (tmp_path / "executed").exists()


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(InvalidInput, match="no such file"):
            load(str(path))


def test_damaged_files_never_crash(tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed, a file loads or is refused: no error of another library gets out."""
    nodes = flattening(helper.make_node("Gemm", ["f", "w"], ["y"]), helper.make_node("Relu", ["x"], ["z"]))
    nodes.insert(-2, helper.make_node("Reshape", ["x", "target"], ["f"]))
    model = make(nodes, {"x": ["N", 2, 2]}, {"axes": ints(0), "minus": ints(-1), "w": floats(4, 2)}, outputs=["y", "z"])
    data = model.SerializeToString()
    path = tmp_path / "model.onnx"
    rng = np.random.default_rng(0)
    damaged = [data[:size] for size in range(0, len(data), 3)]
    for _ in range(400):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            load(path)
        except GraphoptError as error:
            refused += 1
            assert str(error)
    assert refused > len(damaged) // 2


def external(folder: Path, location: str, **entries: Any) -> Path:
    """A model whose weight lies at a location, with its path."""
    model = make([node("Conv", ["x", "w"])], {"x": IMAGE}, {"w": W})
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"\0" * 8 + W.tobytes() + b"rest")
    graph = load(external(tmp_path, "weights/w.bin", offset=8, length=W.nbytes))
    np.testing.assert_array_equal(graph.node("w").op.value, W)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    with pytest.raises(InvalidInput, match="another file"):
        load(model)


def test_external_data_outside_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    for location in ("../secret.bin", str(secret), "link.bin", "linked/secret.bin", "a/../../secret.bin"):
        with pytest.raises(InvalidInput, match="outside the folder of the model"):
            load(external(folder, location))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "none.bin"}, "is missing"),
        ({"location": ""}, "is missing"),
        ({"offset": 8}, "cut short"),
        ({"offset": 10**9}, "cut short"),
        ({"length": 10**9}, "its shape and type take 864"),
        ({"offset": "-1"}, "lies at"),
        ({"length": "x"}, "lies at"),
    ],
)
def test_external_data_malformed(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    with pytest.raises(InvalidInput, match=message):
        load(external(tmp_path, **{"location": "w.bin", **entries}))


def test_opsets_outside_are_refused() -> None:
    for opset in (5, 99):
        with pytest.raises(Unsupported, match=f"net: opset {opset}"):
            load(make([node("Relu")], {"x": IMAGE}, opset=opset))


def test_bfloat16_is_refused() -> None:
    model = make([node("Add", ["x", "w"])], {"x": IMAGE})
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.BFLOAT16, [1], [1.0]))
    with pytest.raises(Unsupported, match="types that numpy lacks: w"):
        load(model)


@pytest.mark.parametrize(
    ("one", "constants", "message"),
    [
        (node("Conv", ["x", "w"], strides="2"), {"w": W}, "attribute 'strides'"),
        (node("Conv", ["x"]), {}, "input 1 is missing"),
        (node("Conv", ["x", "nowhere"]), {}, "used before it is computed"),
        (node("Conv", ["x", "w"]), {"w": floats(6, 5, 3, 3)}, "must have 5 channels"),
        (node("MaxPool"), {}, "kernel_shape"),
        (node("Transpose", perm=[0, 1]), {}, "perm"),
        (node("Concat", ["x", "w"], axis=7), {"w": W}, "axis 7"),
        (node("Relu", outputs=["x"]), {}, "computed twice"),
    ],
)
def test_malformed_nodes(one: onnx.NodeProto, constants: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        load(make([one], {"x": [1, 4, 8, 8]}, constants))
    assert one.name in str(caught.value)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (node("Cast", to=TensorProto.BFLOAT16), "float32 into bfloat16"),
        (node("Resize", ["x", "", "s"], mode="lanczos"), "mode 'lanczos'"),
        (node("Slice", ["x", "one", "zero", "one"]), "is empty"),
        (node("Reshape", ["x", "computed"]), "computed by the model"),
        (node("Reshape", ["x", "x"]), "freeze it: constants={'x': ...}"),
        (node("RandomNormalLike"), "it is random"),
        (node("Unique"), "depends on data"),
        (node("SplitToSequence"), "sequences"),
        (node("BatchNormalization", ["x", "v", "v", "v", "v"], training_mode=1), "training mode"),
        (node("Dropout", ["x", "", "yes"]), "training mode"),
    ],
)
def test_refusals(one: onnx.NodeProto, message: str) -> None:
    constants = {"s": np.array([1, 1, 2, 2], np.float32), "one": ints(1), "zero": ints(0)}
    constants |= {"v": floats(4), "yes": np.array(True)}
    first = helper.make_node("Abs", ["x"], ["computed"])
    with pytest.raises(Unsupported, match=message):
        load(make([first, one], {"x": IMAGE}, constants, opset=24))
