"""Control flow that is written out, operators that ONNX defines by functions, and inputs frozen at load."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from frontends.onnx_models import floats, ints, make, node
from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import load
from graphopt.ir import Graph

FLOAT = TensorProto.FLOAT


def body(nodes: list[onnx.NodeProto], inputs: list[str], outputs: list[str]) -> onnx.GraphProto:
    """The graph of a body, its tensors without types."""
    empty = helper.make_empty_tensor_value_info
    return helper.make_graph(nodes, "body", [empty(i) for i in inputs], [empty(o) for o in outputs])


def hold(model: onnx.ModelProto, **given: np.ndarray) -> Graph:
    """The graph gives what the reference evaluator of onnx gives."""
    graph = load(model)
    for got, want in zip(graph(**given), ReferenceEvaluator(model).run(None, given), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    return graph


def doubling_loop(steps: str, condition: str = "going") -> onnx.ModelProto:
    """A loop that doubles its state and gives that of every step."""
    nodes = [
        helper.make_node("Add", ["state", "state"], ["twice"], name="double"),
        helper.make_node("Identity", [condition], ["on"], name="on"),
        helper.make_node("Cast", ["i"], ["number"], to=FLOAT),
        helper.make_node("Add", ["twice", "number"], ["seen"]),
    ]
    inner = body(nodes, ["i", "going", "state"], ["on", "twice", "seen"])
    loop = helper.make_node("Loop", [steps, "yes", "x"], ["last", "all"], name="loop", body=inner)
    constants = {"three": np.int64(3), "many": np.int64(10**6), "yes": np.array(True)}
    return make([loop], {"x": ["N", 2]}, constants, outputs=["last", "all"])


def test_loop_is_unrolled() -> None:
    graph, x = load(doubling_loop("three")), floats(4, 2)
    last, every = graph(x)
    np.testing.assert_array_equal(last, 8 * x)
    np.testing.assert_array_equal(every, np.stack([2 * x, 4 * x + 1, 8 * x + 2]))
    assert graph.is_symbolic and sum(isinstance(n.op, ops.Add) for n in graph.nodes) == 6
    assert any(name.startswith("loop.double") for name in graph.names.values())


def test_loops_that_cannot_be_unrolled() -> None:
    with pytest.raises(Unsupported, match=r"loop \(Loop\): a loop of more than 1024 steps"):
        load(doubling_loop("many"))
    model = doubling_loop("three", "small")
    less = [
        helper.make_node("ReduceSum", ["state"], ["sum"], keepdims=0),
        helper.make_node("Less", ["sum", "limit"], ["small"]),
    ]
    inner = model.graph.node[0].attribute[0].g
    nodes = [*less, *inner.node]
    del inner.node[:]
    inner.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(9), "limit"))
    with pytest.raises(Unsupported, match=r"loop \(Loop\): a loop that ends when data says so"):
        load(model)


def branching(condition: str, constants: dict[str, Any]) -> onnx.ModelProto:
    yes = body([helper.make_node("Relu", ["x"], ["a"], name="yes")], [], ["a"])
    no = body([helper.make_node("Neg", ["x"], ["b"], name="no")], [], ["b"])
    branch = helper.make_node("If", [condition], ["y"], name="if", then_branch=yes, else_branch=no)
    return make([branch], {"x": ["N", 3]}, constants)


def test_if() -> None:
    for condition in (True, False):
        graph = hold(branching("c", {"c": np.array(condition)}), x=floats(2, 3))
        assert [n.op.name for n in graph.nodes[1:]] == ["relu" if condition else "neg"]
    model = branching("c", {})
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    graph = load(model, constants={"c": np.array(True)})
    assert len(graph.inputs) == 1


@pytest.mark.parametrize("back", [0, 1])
def test_scan(back: int) -> None:
    nodes = [
        helper.make_node("Add", ["state", "one"], ["next"]),
        helper.make_node("Neg", ["next"], ["seen"]),
    ]
    inner = body(nodes, ["state", "one"], ["next", "seen"])
    scan = helper.make_node(
        "Scan",
        ["s", "x"],
        ["last", "all"],
        body=inner,
        num_scan_inputs=1,
        scan_input_directions=[back],
        scan_input_axes=[0],
    )
    model = make([scan], {"s": [2], "x": [3, 2]}, outputs=["last", "all"])
    graph = load(model)
    s, x = floats(2), floats(3, 2, seed=1)
    sums = s + np.cumsum(x[::-1] if back else x, axis=0)
    np.testing.assert_allclose(graph(s, x)[0], sums[-1], rtol=1e-6)
    np.testing.assert_allclose(graph(s, x)[1], -sums, rtol=1e-6)


def test_attention_by_its_function() -> None:
    model = make([node("Attention", ["q", "k", "v"], is_causal=1)], {name: ["N", 2, 5, 4] for name in "qkv"}, opset=24)
    q, k, v = (floats(3, 2, 5, 4, seed=i) for i in range(3))
    graph = hold(model, q=q, k=k, v=v)
    assert graph.is_symbolic and all(name == "q" or name for name in graph.names.values())
    assert any(n.origins[0].startswith("the_Attention.") for n in graph.nodes if isinstance(n.op, ops.Softmax))


def test_function_with_attributes_and_absent_inputs() -> None:
    one = node("SoftmaxCrossEntropyLoss", ["x", "t"], reduction="sum")
    model = make([one], {"x": [3, 5]}, {"t": ints(4, 0, 2)}, opset=13)
    hold(model, x=floats(3, 5))
    hold(make([node("SwiGLU", ["x", "g"])], {"x": [3, 4], "g": [3, 4]}, opset=28), x=floats(3, 4), g=floats(3, 4))


def shaped() -> onnx.ModelProto:
    model = make([node("Reshape", ["x", "shape"])], {"x": ["N", 4]})
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [2]))
    return model


def test_constants_freeze_inputs() -> None:
    with pytest.raises(Unsupported, match=r"input 1, 'shape', must be known; freeze it: constants=.'shape': \.\.\."):
        load(shaped())
    graph = load(shaped(), constants={"shape": ints(-1, 2)})
    assert [graph.names[v.node] for v in graph.inputs] == ["x"]
    assert graph(floats(3, 4))[0].shape == (6, 2)
    with pytest.raises(InvalidInput, match="constants names shap\n  the model has x, shape"):
        load(shaped(), constants={"shap": ints(1)})
    with pytest.raises(InvalidInput, match=r"input 'shape': it is frozen to float32, the model has int64"):
        load(shaped(), constants={"shape": floats(2)})
    with pytest.raises(InvalidInput, match=r"input 'shape': it is frozen to \(3,\), the model has"):
        load(shaped(), constants={"shape": ints(1, 2, 2)})


def test_inputs_without_elements_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    model = make([node("Concat", ["past", "x"], axis=1)], {"past": [2, 0, 3], "x": [2, 4, 3]})
    graph = load(model)
    assert len(graph.inputs) == 1 and "'past' has no elements and is left out" in caplog.text
    np.testing.assert_array_equal(graph(floats(2, 4, 3))[0], floats(2, 4, 3))
