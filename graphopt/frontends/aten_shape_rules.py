"""The rules of the aten operators that move elements. Each takes every argument of its schema, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.torch_program import Node, aten_rule
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
def reshape(at: Node, x: Value, *settings: Any) -> Value:
    """All of these keep the order of the elements: the shape that torch gives the result says it all."""
    return normal.reshape(at, x, at.shape)


@aten_rule("expand.default", "expand_as.default", "broadcast_to.default")
def expand(at: Node, x: Value, *settings: Any) -> Value:
    return normal.expand(at, x, at.shape)


@aten_rule("repeat.default")
def repeat(at: Node, x: Value, counts: Sequence[Dim]) -> Value:
    return normal.repeat(at, x, static(counts))


def static(numbers: Sequence[Dim]) -> list[int]:
    if any(isinstance(n, Batch) for n in numbers):
        raise InvalidGraph(f"{list(numbers)} depends on the batch")
    return [n for n in numbers if isinstance(n, int)]


@aten_rule("permute.default")
def permute(at: Node, x: Value, perm: Sequence[int]) -> Value:
    return normal.transpose(at, x, perm)


@aten_rule("transpose.int")
def transpose(at: Node, x: Value, first: int, second: int) -> Value:
    return normal.swap(at, x, first, second)


@aten_rule("t.default", "numpy_T.default", "mT.default", "matrix_H.default")
def t(at: Node, x: Value) -> Value:
    return x if x.type.rank < 2 else normal.swap(at, x, -2, -1)


@aten_rule("cat.default", "concat.default")
def cat(at: Node, parts: Sequence[Value], axis: int) -> Value:
    return normal.concat(at, [at.operand(p, "part") for p in parts], axis)


@aten_rule("stack.default")
def stack(at: Node, parts: Sequence[Value], axis: int) -> Value:
    axis = normal.axis_of(axis, len(at.shape))
    shape = (*at.shape[:axis], 1, *at.shape[axis + 1 :])
    return normal.concat(at, [normal.reshape(at, at.operand(p, "part"), shape, "part") for p in parts], axis)


@aten_rule("slice.Tensor")
def slice_tensor(at: Node, x: Value, axis: int, start: Dim | None, stop: Dim | None, step: int) -> Value:
    return normal.take(at, x, axis, 0 if start is None else start, normal.END if stop is None else stop, step)


@aten_rule("narrow.default")
def narrow(at: Node, x: Value, axis: int, start: int, length: Dim) -> Value:
    return normal.take(at, x, axis, start, start + length)


@aten_rule("select.int")
def select(at: Node, x: Value, axis: int, index: int) -> Value:
    return normal.select(at, x, axis, index)


@aten_rule("split.Tensor")
def split(at: Node, x: Value, width: Dim, axis: int) -> tuple[Value, ...]:
    size = x.type.shape[axis]
    if size == width:
        return (x,)
    if isinstance(width, Batch):
        raise InvalidGraph(f"split into parts of {width} elements")
    return normal.split(at, x, axis, normal.chunks(size, width))


@aten_rule("chunk.default")
def chunk(at: Node, x: Value, count: int, axis: int) -> tuple[Value, ...]:
    size = x.type.shape[axis]
    return normal.split(at, x, axis, normal.chunks(size, -(-size // count) if isinstance(size, int) else 1))


@aten_rule("split_with_sizes.default", "split.sizes")
def split_with_sizes(at: Node, x: Value, sizes: Sequence[Dim], axis: int) -> tuple[Value, ...]:
    return normal.split(at, x, axis, static(sizes))


@aten_rule("unbind.int")
def unbind(at: Node, x: Value, axis: int) -> tuple[Value, ...]:
    axis = normal.axis_of(axis, x.type.rank)
    parts = normal.split(at, x, axis, normal.chunks(x.type.shape[axis], 1))
    shape = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    return tuple(normal.reshape(at, part, shape, "part") for part in parts)


@aten_rule("copy.default")
def copy(at: Node, x: Value, source: Value, non_blocking: bool) -> Value:
    return normal.expand(at, at.operand(source, "source"), x.type.shape)


@aten_rule("slice_scatter.default")
def slice_scatter(
    at: Node, x: Value, source: Value, axis: int, start: Dim | None, stop: Dim | None, step: int
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
def select_scatter(at: Node, x: Value, source: Value, axis: int, index: int) -> Value:
    """x with ``x[index]`` replaced by the source."""
    axis = normal.axis_of(axis, x.type.rank)
    size = x.type.shape[axis]
    start = index % size if isinstance(size, int) else index
    row = normal.reshape(at, source, (*x.type.shape[:axis], 1, *x.type.shape[axis + 1 :]), "row")
    return slice_scatter(at, x, row, axis, start, start + 1, 1)


@aten_rule("constant_pad_nd.default")
def constant_pad(at: Node, x: Value, pads: Sequence[int], value: float | None) -> Value:
    """Pads come as pairs, the last axis first."""
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for i, (low, high) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        before[-1 - i], after[-1 - i] = low, high
    return normal.pad(at, x, before, after, value or 0.0)


@aten_rule("pad.default")
def pad(at: Node, x: Value, pads: Sequence[int], mode: str, value: float | None) -> Value:
    if mode != "constant":
        raise Unsupported(f"padding in mode {mode!r}", advice="only constant padding can be imported")
    return constant_pad(at, x, pads, value)


@aten_rule("pixel_shuffle.default")
def pixel_shuffle(at: Node, x: Value, factor: int) -> Value:
    return normal.depth_to_space(at, x, factor, depth_first=False)


@aten_rule("channel_shuffle.default")
def channel_shuffle(at: Node, x: Value, groups: int) -> Value:
    n, c, *rest = x.type.shape
    y = normal.reshape(at, x, (n, groups, c // groups, *rest), "groups")
    return normal.reshape(at, normal.swap(at, y, 1, 2), x.type.shape, "merge")


@aten_rule("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
def upsample_nearest(at: Node, x: Value, sizes: Sequence[int] | None, factors: Sequence[float] | None) -> Value:
    return nearest(at, x, [1 / f for f in factors] if factors else None, 0.0)


@aten_rule("_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.vec", "_upsample_nearest_exact3d.vec")
def upsample_nearest_exact(at: Node, x: Value, sizes: Sequence[int] | None, factors: Sequence[float] | None) -> Value:
    return nearest(at, x, [1 / f for f in factors] if factors else None, 0.5)


def nearest(at: Node, x: Value, steps: Sequence[float] | None, shift: float) -> Value:
    """Resizing to the shape of the result, computed in float32 as torch does: floor((i + shift) * step)."""
    sizes = [d for d in at.shape[2:] if isinstance(d, int)]
    steps = steps or [have / want for have, want in zip(normal.spatial(x), sizes, strict=True)]
    sources = [
        np.minimum(np.floor((np.arange(want, dtype=np.float32) + np.float32(shift)) * np.float32(step)), have - 1)
        for have, want, step in zip(normal.spatial(x), sizes, steps, strict=True)
    ]
    return normal.resize(at, x, sizes, [source.astype(int).tolist() for source in sources])


@aten_rule("to.dtype", "to.dtype_layout", "to.device", "_to_copy.default", "type_as.default", "float.default")
def to(at: Node, x: Value, *settings: Any) -> Value:
    """A change of device or layout is nothing to a graph; one of dtype is, unless x is a constant."""
    return at.operand(x, "input")
