"""Whole ONNX models: every opset, names, functions, trained networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from frontends.onnx_models import IMAGE, W, check, compare, floats, ints, make, node
from graphopt import ops
from graphopt.frontends import load
from graphopt.ir import Constant


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
