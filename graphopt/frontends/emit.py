"""What rules of several frontends build with: arithmetic with plain numbers, casts, picking by known positions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph
from graphopt.frontends import normal
from graphopt.frontends.build import Scope
from graphopt.frontends.limits import positions
from graphopt.ir import Array, Batch, Op, Value


def emit(at: Scope, op: Op, *operands: Value | float, part: str = "") -> Value:
    """Apply an operator; numbers become constants of the dtype of the values beside them."""
    dtype = next(o.type.dtype for o in operands if isinstance(o, Value))
    values = [o if isinstance(o, Value) else at.constant(np.array(o, dtype), "number") for o in operands]
    return at.emit(op, *values, part=part)


def cast(at: Scope, x: Value, dtype: str, part: str = "") -> Value:
    return x if x.type.dtype == dtype else at.emit(ops.Cast(to=dtype), x, part=part)


def single(at: Scope, x: Value) -> Value:
    """A parameter of one number as a scalar."""
    if x.type.shape != (1,):
        return x
    return (
        normal.reshape(at, x, (), "scalar") if x.constant is None else at.derive(x, "scalar", lambda a: a.reshape(()))
    )


def pick(at: Scope, x: Value, axis: int, places: Array, part: str = "") -> Value:
    """The elements of an axis at known places, counted from the start: nothing, a slice, or a gather."""
    size = x.type.shape[axis]
    if isinstance(size, Batch):
        raise InvalidGraph(f"picks from axis {axis} of {x.type}, which depends on the batch")
    wanted = [int(p) for p in places.reshape(-1)]
    if wanted and not -size <= min(wanted) <= max(wanted) < size:
        raise InvalidGraph(f"an index outside an axis of {size} elements")
    wanted = [p % size for p in wanted]
    step = wanted[1] - wanted[0] if len(wanted) > 1 else 1
    if places.ndim == 1 and wanted and step > 0 and wanted == list(range(wanted[0], wanted[-1] + 1, step)):
        return normal.take(at, x, axis, wanted[0], wanted[-1] + 1, step, part)
    return at.emit(ops.Gather(axis=axis), x, at.constant(np.reshape(wanted, places.shape), "places"), part=part)


def copied(at: Scope, x: Value, sources: Mapping[int, Sequence[int]]) -> Value:
    """Nearest resizing, for every axis the elements to copy: one operator for the spatial axes, if it can."""
    if x.type.rank > 2 and all(axis > 1 for axis in sources):
        spatial = normal.spatial(x)
        op = normal.resize_op(spatial, [sources.get(axis + 2, range(size)) for axis, size in enumerate(spatial)])
        if op is not None:
            return at.emit(op, x)
    for axis, places in sources.items():
        x = pick(at, x, axis, np.array(places), part=f"axis_{axis}")
    return x


def mean(at: Scope, x: Value, axes: Sequence[int], part: str = "mean") -> Value:
    """The mean over axes, which stay as ones."""
    return at.emit(ops.ReduceMean(axes=normal.axes_of(axes, x.type.rank)), x, part=part)


def total(at: Scope, x: Value, axes: Sequence[int], part: str = "sum") -> Value:
    """The sum over axes, which stay as ones."""
    return at.emit(ops.ReduceSum(axes=normal.axes_of(axes, x.type.rank)), x, part=part)


def whole(x: Value, axes: Sequence[int]) -> int:
    """The number of elements of some axes."""
    return math.prod(x.type.with_shape(x.type.shape[a] for a in axes).static_shape)


def counted(at: Scope, size: int, rank: int, axis: int, dtype: str = "int64", part: str = "positions") -> Value:
    """0, 1, 2 ... along one axis of a tensor of this rank, the others of one element."""
    shape = [size if a == axis else 1 for a in range(rank)]
    return at.constant(positions(size).astype(dtype).reshape(shape), part)
