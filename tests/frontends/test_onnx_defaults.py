"""Attributes that a node leaves out: they are what the schema of the operator says at the opset of the model."""

from __future__ import annotations

import numpy as np
import pytest

from frontends.onnx_models import IMAGE, Case, check, floats, make, node
from graphopt.errors import InvalidInput
from graphopt.frontends import load
from graphopt.frontends.onnx.node import defaults_of

CASES: dict[str, Case] = {
    "softmax_of_all_axes": (node("Softmax"), {}, 12),
    "softmax_of_the_last": (node("Softmax"), {}, 13),
    "hard_sigmoid": (node("HardSigmoid"), {}, 13),
    "leaky_relu": (node("LeakyRelu"), {}, 16),
    "is_newer_than_the_opset": (node("LayerNormalization", ["x", "s"]), {"s": floats(8)}, 13),
    "flatten": (node("Flatten"), {}, 13),
    "reduce_of_old": (node("ReduceMean"), {}, 13),
    "depth_to_space_of_old": (node("DepthToSpace", blocksize=2), {}, 10),
    "lrn": (node("LRN", size=3), {}, 13),
}
REQUIRED: dict[str, Case] = {
    "axis": (node("Concat", ["x", "x"]), {}, 13),
    "to": (node("Cast"), {}, 13),
    "blocksize": (node("DepthToSpace"), {}, 13),
    "num_groups": (node("GroupNormalization", ["x", "s", "s"]), {"s": floats(4)}, 21),
}


@pytest.mark.parametrize("name", CASES)
def test_of_each_opset(name: str) -> None:
    made, constants, opset = CASES[name]
    check(make([made], {"x": IMAGE}, constants, opset))


@pytest.mark.parametrize("name", REQUIRED)
def test_what_has_no_default_must_be_there(name: str) -> None:
    made, constants, opset = REQUIRED[name]
    with pytest.raises(InvalidInput, match=f"attribute '{name}' is missing"):
        load(make([made], {"x": IMAGE}, constants, opset))


def test_they_are_decimals_as_their_authors_wrote_them() -> None:
    assert defaults_of("LeakyRelu", 16) == {"alpha": 0.01}
    assert defaults_of("HardSigmoid", 6) == {"alpha": 0.2, "beta": 0.5}
    assert np.float32(defaults_of("Clip", 6)["max"]) == np.finfo(np.float32).max
