"""Whether a graph gives what LiteRT gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import graphopt
from frontends.tflite.building import Made, made
from frontends.tflite.case import Case
from frontends.tflite.oracle import Reference
from graphopt.ir import Array, Graph

FLOAT_TOLERANCE = 2e-6
"""Of the largest magnitude: sums of float32 in another order."""


def drawn(name: str, case: Case, variant: str, folder: Path) -> tuple[Graph, Made, list[Array]]:
    """The graph of a case, the case, and what LiteRT makes of it."""
    found = made(name, case, variant)
    path = folder / f"{name}_{variant}.tflite"
    path.write_bytes(found.model)
    return graphopt.load(path), found, Reference(found.model, case.plain)(found.stored)


def difference(given: Array, wanted: Array, scale: float, zero: int) -> float:
    """By how many steps results differ; of floats by how much of the tolerance, of others by 0 or infinitely."""
    if scale:
        steps = np.rint(given / np.float32(scale)) + zero
        return float(np.abs(steps - wanted).max(initial=0))
    if wanted.dtype.kind == "f":
        return float(np.abs(given - wanted).max() / max(np.abs(wanted).max(), 1e-9) / FLOAT_TOLERANCE)
    return 0.0 if given.dtype == wanted.dtype and np.array_equal(given, wanted) else np.inf


def worst(graph: Callable[..., Sequence[Array]], found: Made, wanted: list[Array]) -> float:
    """The largest difference of the results of a graph."""
    given = graph(*found.reals)
    assert [y.shape for y in given] == [y.shape for y in wanted]
    return max(difference(*pair) for pair in zip(given, wanted, found.scales, found.zeros, strict=True))
