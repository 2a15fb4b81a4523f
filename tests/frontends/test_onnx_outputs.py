"""The shapes that a model states for its outputs: a conflict is refused by name, what may be stale is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from frontends.onnx_models import floats, make, node
from graphopt.errors import InvalidInput
from graphopt.frontends import load

POOL = node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])


def stating(
    shape: Sequence[int | str | None] | None, inputs: Sequence[int | str | None] = (1, 3, 8, 8)
) -> onnx.ModelProto:
    """A model with one pooling, whose result has the shape [n, 3, 4, 4]; it states another, or the same."""
    model = make([POOL], {"x": inputs})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize("shape", [None, (1, 3, 4, 4), (None, 3, "h", None), ("N", 3, 4, 4), (1, 3, 0, 0)])
def test_shapes_that_agree(shape: Sequence[int | str | None] | None) -> None:
    assert load(stating(shape)).outputs[0].type.shape == (1, 3, 4, 4)


@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (2, 3, 4, 4), (1, 3, 4), (1, 3, 4, 4, 1), (), (None, 3, "h", 5)])
def test_a_conflict_is_refused_by_name(shape: Sequence[int | str | None]) -> None:
    with pytest.raises(InvalidInput, match=r"output 'y': .* states the shape \[.*\] and computes \[1, 3, 4, 4\]"):
        load(stating(shape))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (7, 3, 4, 4), ("N", 3, 4, 4)])
def test_a_free_batch_is_no_conflict(shape: Sequence[int | str | None]) -> None:
    assert load(stating(shape, ("N", 3, 8, 8))).is_symbolic


def test_a_conflict_beside_a_free_batch_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"states the shape \[N, 3, 5, 4\] and computes \[N, 3, 4, 4\]"):
        load(stating(("N", 3, 5, 4), ("N", 3, 8, 8)))


def test_what_the_caller_binds_may_be_stale(caplog: pytest.LogCaptureFixture) -> None:
    assert load(stating((1, 3, 4, 4), ("N", 3, 8, 8)), batch=5).outputs[0].type.shape == (5, 3, 4, 4)
    assert load(stating((1, 3, 4, 4), (1, 3, 8, "w")), shapes={"w": 12}).outputs[0].type.shape == (1, 3, 4, 6)
    assert load(stating((1, 3, 4, 4), (None,) * 4), shapes={"x": (1, 3, 2, 2)}).outputs[0].type.shape == (1, 3, 1, 1)
    assert [r.getMessage().split(": ")[0] for r in caplog.records] == ["output 'y'"] * 3


def test_what_a_frozen_input_decides_may_be_stale() -> None:
    model = make([node("Reshape", ["x", "s"])], {"x": (2, 6)})
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.INT64, [2]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4]))
    assert load(model, constants={"s": np.array([4, 3])}).outputs[0].type.shape == (4, 3)


def test_inner_shapes_are_not_held_to_anything() -> None:
    model = make([node("Relu", ["x"], ["h"]), node("Relu", ["h"], ["y"])], {"x": (2, 3)})
    model.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [7]))
    x = floats(2, 3)
    np.testing.assert_array_equal(load(model)(x)[0], np.maximum(x, 0))
