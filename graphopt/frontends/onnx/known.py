"""The rules that compute at import what follows from constants and shapes.

Their inputs are arrays; those of dtype object hold integers and multiples of N. Arithmetic that leaves the form
k*N, or a comparison that depends on N, raises ``InvalidGraph``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.onnx.node import (
    ONNX_RULES,
    Known,
    OnnxNode,
    Tensor,
    known_rule,
    onnx_rule,
    slices,
)
from graphopt.frontends.onnx.rules.math import cast_dtype
from graphopt.ir import Batch, Shape, Value, numel


def from_dims(dims: list[Any] | Shape) -> Known:
    """Dimensions as a known tensor."""
    return tidy(np.array(dims, object)) if dims else np.zeros(0, np.int64)


def tidy(data: Known) -> Known:
    """An object array without N as integers."""
    symbolic = data.dtype == object and any(isinstance(d, Batch) for d in data.flat)
    return data.astype(np.int64) if data.dtype == object and not symbolic else data


def numbers(at: OnnxNode, index: int) -> Known:
    """A known input without N."""
    data = at.known(index)
    if data.dtype == object:
        raise InvalidGraph(f"input {index} depends on the batch: {data.tolist()}")
    return data


@known_rule("Constant")
def constant(at: OnnxNode) -> Known:
    if (data := at.array("value")) is not None:
        return data
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for name, dtype in dtypes.items():
        if (found := at.raw(name)) is not None:
            return np.array(found, dtype)
    raise Unsupported("a constant that is no dense tensor of numbers")


@onnx_rule("Shape")
@known_rule("Shape")
def shape(at: OnnxNode) -> Known:
    found = at.tensor(0)
    dims = found.type.shape if isinstance(found, Value) else found.shape
    end = at.raw("end")
    return from_dims(dims[at.whole("start", 0) : len(dims) if end is None else int(end)])


@onnx_rule("Size")
@known_rule("Size")
def size(at: OnnxNode) -> Known:
    found = at.tensor(0)
    total = math.prod(found.shape) if not isinstance(found, Value) else numel(found.type.shape)
    return tidy(np.array(total, object))


@known_rule("Identity")
def identity(at: OnnxNode) -> Known:
    return at.known(0)


@known_rule("Cast", "CastLike")
def cast(at: OnnxNode) -> Known:
    dtype = np.dtype(at.dtype(1) if at.op == "CastLike" else cast_dtype(at))
    data = at.known(0)
    if data.dtype != object:
        return data.astype(dtype)
    if dtype.kind not in "iu":
        raise InvalidGraph(f"{data.tolist()} as {dtype} depends on the batch")
    return data


@known_rule("Gather")
def gather(at: OnnxNode) -> Known:
    return tidy(np.asarray(np.take(at.known(0), numbers(at, 1), axis=at.whole("axis"))))


@known_rule("Slice")
def slice_known(at: OnnxNode) -> Known:
    data = at.known(0)
    for axis, start, stop, step in slices(at, data.ndim):
        if isinstance(start, Batch) or isinstance(stop, Batch):
            raise InvalidGraph(f"slice {start}:{stop} depends on the batch")
        data = data[(slice(None),) * axis + (slice(start, stop, step),)]
    return tidy(data)


@known_rule("Concat")
def concat(at: OnnxNode) -> Known:
    return tidy(np.concatenate(at.knowns, axis=at.whole("axis")))


@known_rule("Unsqueeze")
def unsqueeze(at: OnnxNode) -> Known:
    data, axes = at.known(0), at.integers("axes", 1) or []
    return np.expand_dims(data, normal.axes_of(axes, data.ndim + len(axes)))


@known_rule("Squeeze")
def squeeze(at: OnnxNode) -> Known:
    axes = at.integers("axes", 1)
    return np.squeeze(at.known(0), None if axes is None else tuple(axes))


@known_rule("Reshape")
def reshape(at: OnnxNode) -> Known:
    data = at.known(0)
    wanted = at.integers("shape", 1) or []
    dims = [data.shape[i] if d == 0 and not at.flag("allowzero") else d for i, d in enumerate(wanted)]
    return data.reshape(dims)


@known_rule("Flatten")
def flatten(at: OnnxNode) -> Known:
    data, axis = at.known(0), at.whole("axis")
    return data.reshape(math.prod(data.shape[:axis]), -1)


@known_rule("Transpose")
def transpose(at: OnnxNode) -> Known:
    return np.transpose(at.known(0), at.ints("perm") or None)


@known_rule("Expand")
def expand(at: OnnxNode) -> Tensor | Sequence[Tensor | None]:
    """To a shape with N in it a constant becomes a value of the graph."""
    if at.known(1).dtype == object:
        return ONNX_RULES["Expand"](at)
    wanted = tuple(numbers(at, 1).tolist())
    return np.broadcast_to(at.known(0), np.broadcast_shapes(at.known(0).shape, wanted))


@known_rule("Tile")
def tile(at: OnnxNode) -> Known:
    return np.tile(at.known(0), numbers(at, 1).tolist())


@known_rule("NonZero")
def non_zero(at: OnnxNode) -> Known:
    return np.array(np.nonzero(numbers(at, 0)), np.int64)


@known_rule("Compress")
def compress(at: OnnxNode) -> Known:
    axis = at.raw("axis")
    return np.compress(numbers(at, 1), numbers(at, 0), None if axis is None else int(axis))


@known_rule("ConstantOfShape")
def constant_of_shape(at: OnnxNode) -> Known:
    value = at.array("value")
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(numbers(at, 0).tolist(), fill.reshape(-1)[0], fill.dtype)


@known_rule("Range")
def arange(at: OnnxNode) -> Known:
    start, stop, step = (numbers(at, i).item() for i in range(3))
    return np.arange(start, stop, step, dtype=at.known(0).dtype)


def add(a: Any, b: Any) -> Any:
    return a + b


def subtract(a: Any, b: Any) -> Any:
    """Of dimensions; what is left must be a dimension."""
    if isinstance(b, Batch):
        left = (a.factor if isinstance(a, Batch) else 0) - b.factor
        if not isinstance(a, Batch) or left < 0:
            raise InvalidGraph(f"{a} - {b} is not a multiple of the batch N")
        return Batch(left) if left else 0
    return a + -b


def multiply(a: Any, b: Any) -> Any:
    return a * b


def divide(a: Any, b: Any) -> Any:
    """Of dimensions, without rest."""
    if not isinstance(a, Batch):
        raise InvalidGraph(f"{a} / {b} depends on the batch")
    return a // b


def equal(a: Any, b: Any) -> bool:
    """Whether dimensions are equal, if that is the same for every N."""
    factors = sorted(d.factor if isinstance(d, Batch) else d for d in (a, b))
    if isinstance(a, Batch) and isinstance(b, Batch):
        return factors[0] == factors[1]
    number, dim = (a, b) if isinstance(b, Batch) else (b, a)
    if number > 0 and number % dim.factor == 0:
        raise InvalidGraph(f"whether {dim} is {number} depends on the batch")
    return False


def arithmetic(compute: Callable[..., Known], of_dims: Callable[[Any, Any], Any] | None) -> Callable[[OnnxNode], Known]:
    """The rule of an element-wise operator: on numbers, and, where N is among them, on single dimensions."""

    def on_elements(a: Any, b: Any) -> Any:
        if of_dims is None:
            raise InvalidGraph(f"{a} and {b} depend on the batch")
        known = not isinstance(a, Batch) and not isinstance(b, Batch)
        return compute(np.array(a), np.array(b)).item() if known else of_dims(a, b)

    def rule(at: OnnxNode) -> Known:
        first, *rest = at.knowns
        for other in rest:
            symbolic = object in (first.dtype, other.dtype)
            each = np.frompyfunc(on_elements, 2, 1) if symbolic else compute
            first = tidy(np.asarray(each(first, other)))
        return first.astype(bool) if of_dims is equal else first

    return rule


def quotient(a: Known, b: Known) -> Known:
    """Integers truncate toward zero, as in ONNX."""
    return np.asarray(a / b if a.dtype.kind == "f" else np.trunc(a / b), a.dtype)


known_rule("Add", "Sum")(arithmetic(np.add, add))
known_rule("Sub")(arithmetic(np.subtract, subtract))
known_rule("Mul")(arithmetic(np.multiply, multiply))
known_rule("Div")(arithmetic(quotient, divide))
known_rule("Equal")(arithmetic(np.equal, equal))
known_rule("Min")(arithmetic(np.minimum, None))
known_rule("Max")(arithmetic(np.maximum, None))


@known_rule("Where")
def where(at: OnnxNode) -> Known:
    return tidy(np.where(numbers(at, 0), at.known(1), at.known(2)))


@known_rule("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce(at: OnnxNode) -> Known:
    data = at.known(0)
    functions: dict[str, Callable[..., Any]] = {
        "ReduceProd": np.prod,
        "ReduceSum": np.sum,
        "ReduceMax": np.max,
        "ReduceMin": np.min,
    }
    if data.dtype == object and at.op in ("ReduceMax", "ReduceMin"):
        raise InvalidGraph(f"{at.op} of {data.tolist()} depends on the batch")
    axes = at.integers("axes", 1)
    over = tuple(axes) if axes else None
    if over is None and at.flag("noop_with_empty_axes"):
        return data
    return tidy(np.asarray(functions[at.op](data, axis=over, keepdims=at.flag("keepdims"))))


@known_rule("Split")
def split(at: OnnxNode) -> list[Known]:
    data, axis = at.known(0), at.whole("axis")
    width = -(-data.shape[axis] // at.outputs)
    stops = np.cumsum(at.integers("split", 1) or [width] * at.outputs)[:-1]
    return [tidy(part) for part in np.split(data, stops, axis)]
