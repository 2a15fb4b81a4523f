"""Nets whose outputs are what tests want them to be."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import Identity, Linear, Relu


def echo(*shape: int, batch: int | None = None) -> Graph:
    """One input ``[N, *shape]``, or of a fixed batch, given back."""
    x = arg("x", "float32", (Batch() if batch is None else batch, *shape))
    return Graph((x,), (Identity()(x),), ("y",), name="echo")


def rectified(features: int = 5) -> Graph:
    """One input ``[N, features]``, given back where it is positive: a linear layer and its activation."""
    x = arg("x", "float32", (Batch(), features))
    weight, bias = constant(np.eye(features, dtype="float32")), constant(np.zeros(features, "float32"))
    return Graph((x,), (Relu()(Linear()(x, weight, bias)),), ("y",), name="rectified")
