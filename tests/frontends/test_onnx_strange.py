"""Models that are odd but right, from the file to the processor."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphopt
from graphopt.errors import InvalidInput
from graphopt.frontends import load

FLOAT = TensorProto.FLOAT
SHAPES = {"y": [2, 3], "x": [2, 3], "half": [], "list": [2], "again": [2, 3], "flat": [6], "least": []}


def strange() -> onnx.ModelProto:
    """Nodes and a graph of no name; outputs that are an input, a constant of no axes, and one value twice."""
    nodes = [
        helper.make_node("Mul", ["x", "half"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
        helper.make_node("Identity", ["y"], ["again"]),
        helper.make_node("Reshape", ["x", "six"], ["flat"]),
        helper.make_node("ReduceMin", ["x"], ["least"], keepdims=0),
    ]
    constants = {"half": np.float32(0.5), "list": np.array([3, 4]), "six": np.array([6]), "": np.ones(3, np.float32)}
    graph = helper.make_graph(
        nodes,
        "",
        [helper.make_tensor_value_info("x", FLOAT, [2, 3]), helper.make_tensor_value_info("unused", FLOAT, [5])],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name == "list" else FLOAT, shape)
            for name, shape in SHAPES.items()
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_strange_outputs(target: str) -> None:
    model, inputs = strange(), [np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), np.zeros(5, np.float32)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = session.run(list(SHAPES), dict(zip(("x", "unused"), inputs, strict=True)))
    graph = load(model)
    assert graph.output_names == tuple(SHAPES)
    program = graphopt.compile(graphopt.optimize(graph), target)
    for results in (graph(*inputs), program.run(*inputs)):
        for got, want in zip(results, expected, strict=True):
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            np.testing.assert_array_equal(got, want)


def test_names_that_repeat_are_refused() -> None:
    model = strange()
    model.graph.output.append(model.graph.output[0])
    with pytest.raises(InvalidInput, match="two outputs have one name, 'y'"):
        load(model)
    model = strange()
    model.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(InvalidInput, match="two initializers have one name, 'half'"):
        load(model)
