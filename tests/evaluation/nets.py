"""Nets whose outputs are what tests want them to be: they give back their inputs."""

from __future__ import annotations

from graphopt.ir import Batch, Graph, arg
from graphopt.ops import Identity


def echo(*shape: int, batch: int | None = None) -> Graph:
    """One input ``[N, *shape]``, or of a fixed batch, given back."""
    x = arg("x", "float32", (Batch() if batch is None else batch, *shape))
    return Graph((x,), (Identity()(x),), ("y",), name="echo")
