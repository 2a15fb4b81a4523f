"""Operators that move elements."""

from __future__ import annotations

import numpy as np

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule
from graphopt.ir import Array, Batch


@export_rule(ops.Tile)
def tile(op: ops.Tile, at: At) -> None:
    at.result("Tile", at.input(0), at.constant(op.repeats))


@export_rule(ops.Reshape)
def reshape(op: ops.Reshape, at: At) -> None:
    """N becomes -1, which a shape with a zero in it does not allow."""
    if 0 in op.shape:
        at.result("Reshape", at.input(0), at.shape(op.shape), allowzero=1)
        return
    at.result("Reshape", at.input(0), at.constant([-1 if isinstance(d, Batch) else d for d in op.shape]))


@export_rule(ops.Expand)
def expand(op: ops.Expand, at: At) -> None:
    """A one leaves a dimension as it is: only an N that is not in the operand has to be computed."""
    x = (1,) * (len(op.shape) - at.types[0].rank) + at.types[0].shape
    at.result(
        "Expand", at.input(0), at.shape([1 if have == want else want for have, want in zip(x, op.shape, strict=True)])
    )


@export_rule(ops.Slice)
def slice_(op: ops.Slice, at: At) -> None:
    cut = ([op.start], [op.stop], [op.axis], [op.step])
    at.result("Slice", at.input(0), *map(at.constant, cut))


@export_rule(ops.Split)
def split(op: ops.Split, at: At) -> None:
    at.result("Split", at.input(0), at.constant(op.sizes), axis=op.axis)


@export_rule(ops.Pad)
def pad(op: ops.Pad, at: At) -> None:
    value = np.asarray(op.value).astype(at.types[0].dtype)
    at.result("Pad", at.input(0), at.constant(op.pads), at.constant(value, at.types[0].dtype))


@export_rule(ops.Resize)
def resize(op: ops.Resize, at: At) -> None:
    """Where an engine could round the coordinates another way, each axis is gathered instead."""
    have = at.types[0].with_shape(at.types[0].shape[2:]).static_shape
    if all(float32_source(op, axis, size) == op.source(axis, size) for axis, size in enumerate(have)):
        at.result(
            "Resize",
            at.input(0),
            "",
            "",
            at.constant(op.sizes),
            axes=range(2, 2 + len(have)),
            mode="nearest",
            coordinate_transformation_mode=op.coordinates,
            nearest_mode=op.rounding,
        )
        return
    y = at.input(0)
    for axis, size in enumerate(have):
        y = at.emit("Gather", y, at.constant(op.source(axis, size)), axis=axis + 2)
    at.result("Identity", y)


def float32_source(op: ops.Resize, axis: int, size: int) -> list[int]:
    """The elements that an engine copies that computes in float32, by the scale."""
    scale = np.float32(op.sizes[axis]) / np.float32(size)
    i = np.arange(op.sizes[axis], dtype=np.float32)
    half = np.float32(0.5 if op.coordinates == "half_pixel" else 0.0)
    at: Array = (i + half) / scale - half
    at = np.floor(at) if op.rounding == "floor" else np.ceil(at - np.float32(0.5))
    return [int(a) for a in np.clip(at, 0, size - 1)]
