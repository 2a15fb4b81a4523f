"""Operators that only move elements: on the integers of a quantized tensor, as they are stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tflite

from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.tflite.node import TfliteNode, activated, reshaped, tflite_rule, transposed
from graphopt.ir import Batch, Value


@tflite_rule("RESHAPE")
def reshape(at: TfliteNode) -> Value:
    (x,) = at.kept(0)
    wanted = at.integers(1) if at.has(1) else [int(d) for d in vector(at.options("ReshapeOptions").NewShapeAsNumpy())]
    return reshaped(at, x, normal.target_shape(x, wanted, zero_copies=False))


def vector(found: object) -> list[int]:
    """A vector of the options; flatbuffers gives 0 for one that is not there."""
    return [] if isinstance(found, int) else [int(i) for i in np.asarray(found)]


@tflite_rule("SQUEEZE")
def squeeze(at: TfliteNode) -> Value:
    """Of the axes named, or of all that have one element."""
    (x,) = at.kept(0)
    axes = normal.axes_of(vector(at.options("SqueezeOptions").SqueezeDimsAsNumpy()), x.type.rank)
    if not axes and any(isinstance(d, Batch) for d in x.type.shape):
        raise InvalidGraph(f"which axes of {x.type} have one element depends on the batch")
    gone = axes or [a for a, d in enumerate(x.type.shape) if d == 1]
    if any(x.type.shape[a] != 1 for a in gone):
        raise InvalidGraph(f"squeeze of axes {list(gone)} of {x.type}")
    return reshaped(at, x, [d for a, d in enumerate(x.type.shape) if a not in gone])


@tflite_rule("EXPAND_DIMS")
def expand_dims(at: TfliteNode) -> Value:
    (x,), (axis,) = at.kept(0), at.integers(1)
    axis = normal.axis_of(axis, x.type.rank + 1)
    return reshaped(at, x, (*x.type.shape[:axis], 1, *x.type.shape[axis:]))


@tflite_rule("TRANSPOSE")
def transpose(at: TfliteNode) -> Value:
    (x,) = at.kept(0)
    perm = at.integers(1)
    if sorted(normal.axes_of(perm, x.type.rank)) != list(range(x.type.rank)) or len(perm) != x.type.rank:
        raise InvalidInput(f"a transpose by {perm} of rank {x.type.rank}")
    return transposed(at, x, [normal.axis_of(p, x.type.rank) for p in perm])


@tflite_rule("CONCATENATION", layout="either")
def concat(at: TfliteNode) -> Value:
    options, parts = at.options("ConcatenationOptions"), at.kept(*range(len(at.inputs)))
    activation = options.FusedActivationFunction()
    if activation != tflite.ActivationFunctionType.NONE:
        parts = at.reals
    return activated(at, normal.concat(at, parts, at.axis(options.Axis(), at.rank(0))), activation)


@tflite_rule("PACK")
def pack(at: TfliteNode) -> Value:
    options, parts = at.options("PackOptions"), at.kept(*range(len(at.inputs)))
    axis = normal.axis_of(options.Axis(), parts[0].type.rank + 1)
    wide = [normal.reshape(at, p, (*p.type.shape[:axis], 1, *p.type.shape[axis:]), "wide") for p in parts]
    return normal.concat(at, wide, axis)


@tflite_rule("UNPACK")
def unpack(at: TfliteNode) -> Sequence[Value]:
    options, (x,) = at.options("UnpackOptions"), at.kept(0)
    axis = normal.axis_of(options.Axis(), x.type.rank)
    if x.type.shape[axis] != len(at.outputs):
        raise InvalidGraph(f"{x.type} is not {len(at.outputs)} along axis {axis}")
    return [normal.select(at, x, axis, i) for i in range(len(at.outputs))]


@tflite_rule("SPLIT", layout="either")
def split(at: TfliteNode) -> Sequence[Value]:
    """Into equal parts; the axis comes first."""
    (axis,), (x,) = at.integers(0), at.kept(1)
    axis = at.axis(axis, x.type.rank)
    size, count = x.type.shape[axis], len(at.outputs)
    if isinstance(size, Batch) or size % count:
        raise InvalidGraph(f"{x.type} does not divide into {count} along axis {axis}")
    return normal.split(at, x, axis, [size // count] * count)


@tflite_rule("SPLIT_V", layout="either")
def split_by_sizes(at: TfliteNode) -> Sequence[Value]:
    """Of the sizes one may be -1, what is left."""
    (x,), sizes, (axis,) = at.kept(0), at.integers(1), at.integers(2)
    axis = at.axis(axis, x.type.rank)
    size = x.type.shape[axis]
    if isinstance(size, int):
        sizes = [size - sum(s for s in sizes if s >= 0) if s == -1 else s for s in sizes]
    if min(sizes, default=0) < 1:
        raise Unsupported(f"a split into {sizes}")
    return normal.split(at, x, axis, sizes)


@tflite_rule("TILE", layout="either")
def tile(at: TfliteNode) -> Value:
    (x,), counts = at.kept(0), at.integers(1)
    if len(counts) != x.type.rank or min(counts, default=1) < 1:
        raise InvalidInput(f"{counts} copies of rank {x.type.rank}")
    return normal.repeat(at, x, at.ordered(counts))
