"""Data quantized once and then moved: integers are kept, and the numbers are those of the floats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import Concat, Dequantize, MaxPool, Neg, Pad, Quantize, Reshape, Transpose
from graphopt.passes import Context
from graphopt.passes.quantize import LowerInteger


def on_grid(x: Value, scale: float = 0.1, zero: int = 3, dtype: str = "uint8") -> Value:
    parameters = constant(np.float32(scale)), constant(np.array(zero, dtype))
    return Dequantize()(Quantize()(x, *parameters), *parameters)


def joined(x: Value, scale: float = 0.1) -> Value:
    return Concat(axis=1)(on_grid(x), on_grid(Neg()(x), scale))


MOVES: dict[str, tuple[Callable[[Value], Value], bool]] = {
    "reshape_pool": (lambda x: Reshape(shape=(1, 8))(MaxPool(kernel=(2, 2), strides=(2, 2))(on_grid(x))), True),
    "signed": (lambda x: Transpose(perm=(0, 2, 3, 1))(on_grid(x, 0.07, -5, "int8")), True),
    "concat": (joined, True),
    "concat_of_two_scales": (lambda x: joined(x, 0.2), False),
    "pad": (lambda x: Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1))(on_grid(x)), True),
    "pad_with_a_step": (
        lambda x: Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1), value=float(np.float32(0.1) * 7))(on_grid(x)),
        True,
    ),
    "pad_between_steps": (lambda x: Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1), value=0.25)(on_grid(x)), False),
}


@pytest.mark.parametrize("name", MOVES)
def test_moved_integers_are_the_same_numbers(name: str) -> None:
    make, kept = MOVES[name]
    x = arg("x", "float32", (1, 2, 4, 4))
    graph = Graph((x,), (make(x),))
    lowered = LowerInteger().run(graph, Context())
    data: Array = np.random.default_rng(0).uniform(-3, 30, (1, 2, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(lowered(data)[0], graph(data)[0])
    assert isinstance(lowered.outputs[0].op, Dequantize) == kept
