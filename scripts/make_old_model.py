"""Writes tests/data/old.gopt: a model of format 1, whose operator ``aged`` has since got a version 2.

Run it only to see how the file was made: its worth is that it is old.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import graphopt
from graphopt.ir import Array, Batch, Graph, Op, TensorType, arg, constant
from graphopt.ops import Conv, Relu
from graphopt.passes import optimize


class Aged(Op, name="aged"):
    """x * percent / 100."""

    percent: int = 100

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0]

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0] * inputs[0].dtype.type(self.percent / 100))


x = arg("x", "float32", (Batch(), 2, 4))
weight = constant(np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 8, "conv.weight")
bias = constant(np.array([0.5, -0.5], np.float32), "conv.bias")
y = Aged(percent=150)(Relu()(Conv(pads=(1, 1))(x, weight, bias, name="conv"), name="relu"), name="aged")
graphopt.save(optimize(Graph((x,), (y,), ("y",), "old")), Path(__file__).parents[1] / "tests" / "data" / "old.gopt")
