"""Whether two graphs can be compared, and how far two arrays are apart, as one number."""

from __future__ import annotations

import numpy as np

from graphopt.ir.graph import Graph
from graphopt.ir.op import Array
from graphopt.ir.types import TensorType

Signature = tuple[tuple[tuple[str, TensorType], ...], tuple[tuple[str, TensorType], ...]]


def signature(graph: Graph) -> Signature:
    """The names and types of the inputs and of the outputs."""
    return (
        tuple((graph.names[v.node], v.type) for v in graph.inputs),
        tuple((name, v.type) for name, v in zip(graph.output_names, graph.outputs, strict=True)),
    )


def worst_difference(got: Array, reference: Array) -> float:
    """max|got - reference| / max|reference|; the absolute difference where the reference is all zero.

    NaN and infinity must stand where the reference has them, or the difference is infinite.
    """
    got, reference = np.asarray(got, np.float64), np.asarray(reference, np.float64)
    finite = np.isfinite(reference)
    if got.shape != reference.shape or not np.array_equal(got[~finite], reference[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    error = float(np.max(np.abs(got[finite] - reference[finite])))
    scale = float(np.max(np.abs(reference[finite])))
    return float("inf") if np.isnan(error) else error / scale if scale else error
