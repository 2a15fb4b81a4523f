"""What a kernel has to multiply and to move at least, for profiles."""

from __future__ import annotations

import math

import numpy as np

from graphopt.ir import Constant, Value
from graphopt.ops import Gather, GatherElements, GatherNd, Slice
from graphopt.ops.macs import macs_of
from graphopt.targets.region import Region

PICKING = (Gather, GatherElements, GatherNd, Slice)
"""The operators that read no more elements of an operand than they write."""


def products_of(region: Region) -> str:
    """The dtype of the factors of a region's first product; "" if it multiplies nothing."""
    return next((node.inputs[0].type.dtype for node in region.compute if macs_of(node)), "")


def moved_bytes(region: Region) -> int:
    """The bytes of all operands, constants and the result of a region, each once, as far as they are read."""
    (result,) = region.body.outputs
    picks = region.anchor is None or isinstance(region.anchor.op, PICKING)
    most = elements(result) if picks else math.inf
    read = (*region.body.inputs, *(n.results[0] for n in region.body.nodes if isinstance(n.op, Constant)))
    return nbytes(result, math.inf) + sum(nbytes(value, most) for value in read)


def elements(value: Value) -> int:
    return math.prod(value.type.static_shape)


def nbytes(value: Value, most: float) -> int:
    """The bytes of a value, or of so many of its elements if it has more."""
    return int(min(elements(value), most)) * np.dtype(value.type.dtype).itemsize
