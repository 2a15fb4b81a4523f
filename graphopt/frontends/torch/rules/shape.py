"""The rules of the aten operators that move elements. Each takes every argument of its schema, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.ir import Batch, Dim, Value


@aten_rule(
    "_unsafe_view.default",
    "flatten.using_ints",
    "reshape.default",
    "squeeze.default",
    "squeeze.dim",
    "squeeze.dims",
    "unflatten.int",
    "unsqueeze.default",
    "view.default",
    "view_as.default",
)
def reshape(at: AtenNode, x: Value, *settings: Any) -> Value:
    """All of these keep the order of the elements: the shape that torch gives the result says it all."""
    return normal.reshape(at, x, at.shape)


@aten_rule("expand.default", "expand_as.default", "broadcast_to.default")
def expand(at: AtenNode, x: Value, *settings: Any) -> Value:
    return normal.expand(at, x, at.shape)


@aten_rule("repeat.default")
def repeat(at: AtenNode, x: Value, counts: Sequence[Dim]) -> Value:
    return normal.repeat(at, x, static(counts))


def static(numbers: Sequence[Dim]) -> list[int]:
    if any(isinstance(n, Batch) for n in numbers):
        raise InvalidGraph(f"{list(numbers)} depends on the batch")
    return [n for n in numbers if isinstance(n, int)]


@aten_rule("permute.default")
def permute(at: AtenNode, x: Value, perm: Sequence[int]) -> Value:
    return normal.transpose(at, x, perm)


@aten_rule("transpose.int")
def transpose(at: AtenNode, x: Value, first: int, second: int) -> Value:
    return normal.swap(at, x, first, second)


@aten_rule("t.default", "numpy_T.default", "mT.default", "matrix_H.default")
def t(at: AtenNode, x: Value) -> Value:
    return x if x.type.rank < 2 else normal.swap(at, x, -2, -1)


@aten_rule("cat.default", "concat.default")
def cat(at: AtenNode, parts: Sequence[Value], axis: int) -> Value:
    return normal.concat(at, [at.operand(p, "part") for p in parts], axis)


@aten_rule("stack.default")
def stack(at: AtenNode, parts: Sequence[Value], axis: int) -> Value:
    axis = normal.axis_of(axis, len(at.shape))
    shape = (*at.shape[:axis], 1, *at.shape[axis + 1 :])
    return normal.concat(at, [normal.reshape(at, at.operand(p, "part"), shape, "part") for p in parts], axis)


@aten_rule("slice.Tensor")
def slice_tensor(at: AtenNode, x: Value, axis: int, start: Dim | None, stop: Dim | None, step: int) -> Value:
    return normal.take(at, x, axis, 0 if start is None else start, normal.END if stop is None else stop, step)


@aten_rule("narrow.default")
def narrow(at: AtenNode, x: Value, axis: int, start: int, length: Dim) -> Value:
    return normal.take(at, x, axis, start, start + length)


@aten_rule("select.int")
def select(at: AtenNode, x: Value, axis: int, index: int) -> Value:
    return normal.select(at, x, axis, index)


@aten_rule("split.Tensor")
def split(at: AtenNode, x: Value, width: Dim, axis: int) -> tuple[Value, ...]:
    size = x.type.shape[axis]
    if size == width:
        return (x,)
    if isinstance(width, Batch):
        raise InvalidGraph(f"split into parts of {width} elements")
    return normal.split(at, x, axis, normal.chunks(size, width))


@aten_rule("chunk.default")
def chunk(at: AtenNode, x: Value, count: int, axis: int) -> tuple[Value, ...]:
    size = x.type.shape[axis]
    return normal.split(at, x, axis, normal.chunks(size, -(-size // count) if isinstance(size, int) else 1))


@aten_rule("split_with_sizes.default", "split.sizes")
def split_with_sizes(at: AtenNode, x: Value, sizes: Sequence[Dim], axis: int) -> tuple[Value, ...]:
    return normal.split(at, x, axis, static(sizes))


@aten_rule("unbind.int")
def unbind(at: AtenNode, x: Value, axis: int) -> tuple[Value, ...]:
    axis = normal.axis_of(axis, x.type.rank)
    parts = normal.split(at, x, axis, normal.chunks(x.type.shape[axis], 1))
    shape = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    return tuple(normal.reshape(at, part, shape, "part") for part in parts)


@aten_rule("copy.default")
def copy(at: AtenNode, x: Value, source: Value, non_blocking: bool) -> Value:
    return normal.expand(at, at.operand(source, "source"), x.type.shape)


@aten_rule("slice_scatter.default")
def slice_scatter(
    at: AtenNode, x: Value, source: Value, axis: int, start: Dim | None, stop: Dim | None, step: int
) -> Value:
    """x with ``x[start:stop]`` replaced by the source."""
    axis = normal.axis_of(axis, x.type.rank)
    size = x.type.shape[axis]
    if source.type.shape == x.type.shape:
        return source
    if step != 1 or isinstance(size, Batch) or isinstance(start, Batch) or isinstance(stop, Batch):
        raise Unsupported("assignment to a slice with a step, or along the batch", advice="use torch.cat")
    first, last, _ = slice(start, stop).indices(size)
    before = [normal.take(at, x, axis, 0, first, part="before")] if first > 0 else []
    after = [normal.take(at, x, axis, last, normal.END, part="after")] if last < size else []
    return normal.concat(at, [*before, source, *after], axis)


@aten_rule("select_scatter.default")
def select_scatter(at: AtenNode, x: Value, source: Value, axis: int, index: int) -> Value:
    """x with ``x[index]`` replaced by the source."""
    axis = normal.axis_of(axis, x.type.rank)
    size = x.type.shape[axis]
    start = index % size if isinstance(size, int) else index
    row = normal.reshape(at, source, (*x.type.shape[:axis], 1, *x.type.shape[axis + 1 :]), "row")
    return slice_scatter(at, x, row, axis, start, start + 1, 1)


@aten_rule("pixel_shuffle.default")
def pixel_shuffle(at: AtenNode, x: Value, factor: int) -> Value:
    return normal.depth_to_space(at, x, factor, depth_first=False)


@aten_rule("pixel_unshuffle.default")
def pixel_unshuffle(at: AtenNode, x: Value, factor: int) -> Value:
    n, c, h, w = (x.type.shape[0], *x.type.with_shape(x.type.shape[1:]).static_shape)
    y = normal.reshape(at, x, (n, c, h // factor, factor, w // factor, factor), "blocks")
    y = normal.transpose(at, y, (0, 1, 3, 5, 2, 4), "gather")
    return normal.reshape(at, y, (n, c * factor * factor, h // factor, w // factor))


@aten_rule("channel_shuffle.default")
def channel_shuffle(at: AtenNode, x: Value, groups: int) -> Value:
    n, c, *rest = x.type.shape
    y = normal.reshape(at, x, (n, groups, c // groups, *rest), "groups")
    return normal.reshape(at, normal.swap(at, y, 1, 2), x.type.shape, "merge")


@aten_rule(
    "to.dtype",
    "to.dtype_layout",
    "to.device",
    "to.other",
    "_to_copy.default",
    "type_as.default",
    "float.default",
    "bool.default",
    "long.default",
    "int.default",
)
def to(at: AtenNode, x: Value, *settings: Any) -> Value:
    """A change of device or layout is nothing to a graph; one of dtype is a cast."""
    return at.cast(x, at.dtype)


@aten_rule("arange.default", "arange.start", "arange.start_step")
def arange(at: AtenNode, *settings: Any) -> Value:
    """The positions in the batch: a running total of ones. Any other range is computed when the model is imported."""
    limits, (size,) = settings[:-4], at.shape
    if limits not in ((size,), (0, size), (0, size, 1)) or not isinstance(size, Batch):
        raise InvalidGraph(f"a range by {limits} depends on the batch")
    ones = normal.expand(at, at.constant(np.ones(1, at.dtype), "one"), at.shape, "ones")
    return at.emit(ops.CumSum(axis=0, exclusive=True), ones)


def filled(argument: int, value: float = 0.0) -> Callable[..., Value]:
    """The rule of one number spread over a shape: that of an argument, or a fixed one."""

    def rule(at: AtenNode, *settings: Any) -> Value:
        number = at.operand(settings[argument] if argument else value, "number")
        return normal.expand(at, normal.reshape(at, number, (1,) * len(at.shape), "point"), at.shape)

    return rule


aten_rule("zeros.default", "zeros_like.default", "new_zeros.default")(filled(0, 0.0))
aten_rule("ones.default", "ones_like.default", "new_ones.default")(filled(0, 1.0))
aten_rule("full.default", "full_like.default")(filled(1))
aten_rule("new_full.default")(filled(2))
