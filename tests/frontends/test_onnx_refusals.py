"""ONNX models that are refused, with what the error says."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from frontends.onnx_models import IMAGE, W, floats, ints, make, node
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import load


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
