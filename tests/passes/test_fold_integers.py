"""Factors of whole numbers fold into layers of integers as they do into layers of floats."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Graph, arg, constant
from graphopt.ops import Conv, Mul
from graphopt.passes import optimize


def test_a_factor_in_front_of_integer_weights() -> None:
    rng = np.random.default_rng(0)
    x = arg("x", "int32", (1, 2, 4, 4))
    w, b = (constant(rng.integers(-9, 9, shape).astype(np.int32)) for shape in ((3, 2, 2, 2), (3,)))
    graph = Graph((x,), (Conv()(Mul()(x, constant(np.int32(-3))), w, b),))
    data = rng.integers(-50, 50, x.type.static_shape).astype(np.int32)
    small = optimize(graph)
    assert not any(isinstance(node.op, Mul) for node in small.nodes)
    np.testing.assert_array_equal(small(data)[0], graph(data)[0])
