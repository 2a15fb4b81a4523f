"""If with a condition that data decides: both branches and a selection, or a refusal that says what to freeze."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import graphopt
from frontends.onnx_models import floats, make
from graphopt.errors import GraphoptError, InvalidInput, Unsupported
from graphopt.frontends import load

node = helper.make_node


def body(nodes: list[onnx.NodeProto], *outputs: str) -> onnx.GraphProto:
    """A body that reads what is around it; its results have no stated shape."""
    infos = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
    return helper.make_graph(nodes, "body", [], infos)


def choosing(
    yes: onnx.GraphProto,
    no: onnx.GraphProto,
    constants: dict[str, Any] | None = None,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    """One branch if the least element of x is above zero, else the other."""
    nodes = [
        node("ReduceMin", ["x"], ["least"], keepdims=0),
        node("Greater", ["least", "zero"], ["above"]),
        node("If", ["above"], list(outputs), name="if", then_branch=yes, else_branch=no),
    ]
    return make(nodes, {"x": [2, 3]}, {"zero": np.float32(0), **(constants or {})}, outputs=outputs)


def hold(model: onnx.ModelProto) -> graphopt.Graph:
    """The graph gives what ONNX Runtime gives, whichever branch is taken."""
    graph = load(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for x in (floats(2, 3), np.abs(floats(2, 3)) + 1, np.full((2, 3), -np.inf, np.float32)):
        with np.errstate(all="ignore"):
            given = graph(x)
        for got, want in zip(given, session.run(list(graph.output_names), {"x": x}), strict=True):
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            np.testing.assert_allclose(got, want, rtol=1e-6)
    return graph


LOG = body([node("Log", ["x"], ["a"])], "a")
KEPT = body([node("Identity", ["x"], ["b"])], "b")


def test_both_branches_are_computed_and_one_is_selected(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "graphopt"):
        graph = hold(choosing(LOG, KEPT))
    assert "if: both branches of this If are computed" in caplog.text
    assert [n.op.name for n in graph.nodes if n.op.name in ("log", "where")] == ["log", "where"]


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_nan_of_the_other_branch_is_not_selected(target: str) -> None:
    graph = load(choosing(LOG, KEPT))
    program = graphopt.compile(graphopt.optimize(graph), target)
    for x in (-np.abs(floats(2, 3)), np.abs(floats(2, 3)) + 1):
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(program.run(x), graph(x)[0], rtol=1e-5)


def test_several_results_constants_and_branches_in_branches() -> None:
    inner = node("If", ["above"], ["i"], then_branch=LOG, else_branch=body([node("Neg", ["x"], ["n"])], "n"))
    yes = body([inner, node("ReduceSum", ["x"], ["s"], keepdims=0), node("Identity", ["k"], ["t"])], "i", "s", "t")
    no = body(
        [node("Mul", ["x", "x"], ["m"]), node("Identity", ["zero"], ["z"]), node("Add", ["k", "k"], ["u"])],
        "m",
        "z",
        "u",
    )
    hold(choosing(yes, no, {"k": floats(4)}, ("y", "sum", "k_out")))


REFUSED = {
    "shapes": (
        body([node("ReduceSum", ["x"], ["a"])], "a"),
        KEPT,
        r"its branches give float32\[1, 1\] and float32\[2, 3\]",
    ),
    "division": (
        body([node("Div", ["seven", "whole"], ["q"]), node("Cast", ["q"], ["a"], to=1)], "a"),
        KEPT,
        "branch not taken: integers may be divided by zero .at 'if.q'",
    ),
    "index": (body([node("Gather", ["x", "rows"], ["a"])], "a"), KEPT, "an index may be outside its axis"),
    "results": (body([node("Relu", ["x"], ["a"])], "a", "a"), KEPT, "its branches have 2 and 1 results"),
    "operator": (body([node("NonZero", ["x"], ["a"])], "a"), KEPT, "a branch cannot be imported"),
    "malformed": (body([node("Reshape", ["x", "seven"], ["a"])], "a"), KEPT, "a branch cannot be: if.a"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_branches_that_cannot_both_be_computed_are_refused(case: str) -> None:
    yes, no, reason = REFUSED[case]
    model = choosing(yes, no, {"seven": np.full((2, 3), 7)})
    casts = [
        node("Cast", ["x"], ["whole"], to=TensorProto.INT64),
        node("ReduceMin", ["x"], ["lowest"], axes=[1], keepdims=0),
        node("Cast", ["lowest"], ["rows"], to=TensorProto.INT64),
    ]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(GraphoptError, match=reason) as caught:
        load(model)
    assert "if" in str(caught.value)


def rated(*, fail: bool) -> onnx.ModelProto:
    """A model that does something else for each of two sample rates, as detectors of voices do."""
    fast = body([node("ReduceSum", ["x"], ["a"]) if fail else node("Neg", ["x"], ["a"])], "a")
    nodes = [
        node("Equal", ["sr", "rate"], ["fast"]),
        node("If", ["fast"], ["y"], name="if", then_branch=fast, else_branch=KEPT),
    ]
    model = make(nodes, {"x": [2, 3]}, {"rate": np.int64(16000)})
    model.graph.input.append(helper.make_tensor_value_info("sr", TensorProto.INT64, []))
    return model


def test_the_input_to_freeze_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unsupported, match=r"freeze .*: constants=\{'sr': \.\.\.\}, or --constant sr=\.\.\."):
        load(rated(fail=True))
    x = floats(2, 3)
    for rate in (16000, np.int64(16000), np.array(16000)):
        np.testing.assert_allclose(load(rated(fail=True), constants={"sr": rate})(x)[0], [[x.sum()]], rtol=1e-5)
    np.testing.assert_array_equal(load(rated(fail=True), constants={"sr": 8000})(x)[0], x)
    with caplog.at_level(logging.WARNING, "graphopt"):
        graph = load(rated(fail=False))
    assert "to have one, freeze its condition: constants={'sr': ...}" in caplog.text
    np.testing.assert_array_equal(graph(x, np.int64(16000))[0], -x)
    np.testing.assert_array_equal(graph(x, np.int64(8000))[0], x)


WRITTEN = {
    "fraction": (16000.5, "the model has int64"),
    "text": ("16000", "give numbers"),
    "large": (2**63, "the model has int64"),
    "rows": ([[1, 2], [3]], "give numbers"),
    "many": ([1, 2], "the model has"),
    "nothing": (None, "give numbers"),
    "dtype": (np.float32(1), "float32, the model has int64"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_constants_that_do_not_fit_are_refused(case: str) -> None:
    value, reason = WRITTEN[case]
    with pytest.raises(InvalidInput, match=f"(?s)input 'sr': it is frozen to .*{reason}"):
        load(rated(fail=True), constants={"sr": value})
