"""In which order kernels read an operand against their writes of the result: how far the two may overlap.

A tile of pixels is written once its windows were read. So the result may lie over the operand if it begins so far below
it that no tile is written over a pixel that is read later. In both, all channels of a pixel stand together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from graphopt.ir import Array, Op, Value
from graphopt.targets.kernels.base import Task, View
from graphopt.targets.kernels.geometry import Cut, Plane, as_plane
from graphopt.targets.plan import Overlap, rounded_up
from graphopt.targets.schedule import runs
from graphopt.targets.tir import Tensor


def point_reads(task: Task[Op]) -> Mapping[Value, Overlap]:
    """Of a kernel that goes over the elements in the order of memory: reads one of each operand, and writes one.

    The result may begin where such an operand does, if it is of bytes, which C lets overlap anything.
    """
    (result,) = task.region.body.outputs
    layouts = dict(zip(task.region.body.inputs, task.layouts, strict=True))
    if np.dtype(result.type.dtype).itemsize > 1:
        return {}
    return {v: Overlap(0) for v in task.covered if layouts[v] == task.out and v not in task.region.tables}


def tiled_reads(task: Task[Op], plane: Plane, view: View, pixels: int, last: int) -> Mapping[Value, Overlap]:
    """Of a kernel whose loops go over tiles first, and then over blocks of channels, of which the last has ``last``.

    Each block reads the windows of the tile anew, after those before it have written theirs.
    """
    operand, result = views(task, view)
    if operand is None or result is None:
        return {}
    written, read = tile_order(plane, pixels)
    ends, starts = written * pixel_bytes(result), read * pixel_bytes(operand)
    before = gap(ends - last * pixel_bytes(result) // result.shape[1], starts) if last < result.shape[1] else 0
    return {task.source: Overlap(max(before, gap(ends, later(starts))))}


def pixel_reads(task: Task[Op], plane: Plane, view: View, pixels: int) -> Mapping[Value, Overlap]:
    """Of a kernel that goes over pixels, so many at once: reads all of their windows, and then writes all channels."""
    total = plane.out[0] * plane.out[1]
    return part_reads(task, plane, view, np.minimum(np.arange(pixels, total + pixels, pixels), total))


def run_reads(task: Task[Op], plane: Plane, view: View, run: int, cut: Cut = runs) -> Mapping[Value, Overlap]:
    """Of one that goes over rows, and in each over runs of so many pixels, as they are ``cut``, in the same way."""
    cuts = cut(plane.out[1], run)
    ends = np.concatenate([start + size * np.arange(1, count + 1) for start, count, size in cuts])
    return part_reads(task, plane, view, np.add.outer(plane.out[1] * np.arange(plane.out[0]), ends).ravel())


def row_reads(task: Task[Op], plane: Plane, view: View, rows: int) -> Mapping[Value, Overlap]:
    """Of one that goes over so many rows at once, in the same way."""
    ends = np.minimum(np.arange(rows, plane.out[0] + rows, rows), plane.out[0])
    return part_reads(task, plane, view, plane.out[1] * ends)


def part_reads(task: Task[Op], plane: Plane, view: View, ends: Array) -> Mapping[Value, Overlap]:
    """Of a kernel that goes over parts of the pixels, each up to one of ``ends``: reads windows, then writes."""
    operand, result = views(task, view)
    if operand is None or result is None:
        return {}
    y, x = np.divmod(np.arange(plane.out[0] * plane.out[1]), plane.out[1])
    tops, lefts = (
        np.maximum(0, at * plane.window.strides[axis] - plane.window.pads[axis]) for axis, at in enumerate((y, x))
    )
    firsts = np.minimum.reduceat(tops * plane.size[1] + lefts, np.append(0, ends[:-1]))
    return {task.source: Overlap(gap(ends * pixel_bytes(result), later(firsts * pixel_bytes(operand))))}


def strip_reads(task: Task[Op], view: View, plane: Plane, strip: int, overlap: int) -> Mapping[Value, Overlap]:
    """Of a kernel that goes over channels first, and in each over strips of rows: it reads their rows and then writes.

    Of the rows that a strip needs, those before it have read the first ``overlap``.
    """
    seen = [view(tensor) for tensor in (task.strided(task.inputs[0]), result_of(task))]
    operand, result = views(task, as_plane)
    if operand is None or result is None or itemsize(operand) != itemsize(result) or None in seen:
        return {}
    size = pixel_bytes(operand)
    step = math.lcm(size, task.target.alignment)
    down, across = ((tensor.strides[2] // size, tensor.strides[3] // size) for tensor in seen if tensor is not None)
    firsts = np.arange(0, plane.out[0], strip)
    lasts = np.minimum(firsts + strip, plane.out[0])
    written = (lasts - 1) * across[0] + (plane.out[1] - 1) * across[1] + 1
    read = np.clip(
        firsts * plane.window.strides[0] - plane.window.pads[0] + np.where(firsts > 0, overlap, 0), 0, plane.size[0] - 1
    )
    return {task.source: Overlap(rounded_up(size * gap(written, later(read * down[0])), step), step)}


def windowed_reads(task: Task[Op], plane: Plane, pixels: int) -> Mapping[Value, Overlap]:
    """Of a kernel whose loops go over channels first: each reads and writes what is its own.

    So it is if the result begins a multiple of a pixel below the operand.
    """
    operand, result = views(task, as_plane)
    if operand is None or result is None or itemsize(operand) != itemsize(result):
        return {}
    size = pixel_bytes(operand)
    step = math.lcm(size, task.target.alignment)
    written, read = tile_order(plane, pixels)
    return {task.source: Overlap(rounded_up(size * gap(written, later(read)), step), step)}


def views(task: Task[Op], view: View) -> tuple[Tensor | None, Tensor | None]:
    """Operand and result through a view, if all channels of a pixel stand together; else None."""
    if task.region.tail is not None:
        return None, None
    operand, seen = view(task.strided(task.inputs[0])), view(result_of(task))
    return operand if by_pixels(operand) else None, seen if by_pixels(seen) else None


def result_of(task: Task[Op]) -> Tensor:
    return Tensor(None, task.region.head.type.dtype, task.out.shape, task.out.strides)


def by_pixels(tensor: Tensor | None) -> bool:
    """Whether a tensor is one sample [1, c, h, w], dense, its channels innermost."""
    if tensor is None or tensor.shape[0] != 1:
        return False
    _, c, _, w = tensor.shape
    axes = zip(tensor.shape, tensor.strides, (0, 1, w * c, c), strict=True)
    return all(size == 1 or stride == wanted for size, stride, wanted in axes)


def itemsize(tensor: Tensor) -> int:
    return np.dtype(tensor.dtype).itemsize


def pixel_bytes(tensor: Tensor) -> int:
    return tensor.shape[1] * itemsize(tensor)


def tile_order(plane: Plane, pixels: int) -> tuple[Array, Array]:
    """For each tile, in their order: the end of the pixels that it writes, and the first pixel that it reads."""
    tiles = np.array(plane.tiles(pixels))
    y, x = np.arange(plane.out[0])[:, None], tiles[:, 0]
    strides, pads = plane.window.strides, plane.window.pads
    top, left = np.maximum(0, y * strides[0] - pads[0]), np.maximum(0, x * strides[1] - pads[1])
    return (y * plane.out[1] + tiles.sum(axis=1)).ravel(), (top * plane.size[1] + left).ravel()


def later(starts: Array) -> Array:
    """What the next tile reads first; the last one has none behind it."""
    return np.append(starts[1:], np.iinfo(np.int64).max // 2)


def gap(ends: Array, starts: Array) -> int:
    """How far below the operand the result must begin: of each tile the end of its writes, and what is read after them.

    What is read by a tile is read by none behind it if all of these begin later.
    """
    still_read = np.minimum.accumulate(starts[::-1])[::-1]
    return max(0, int((ends - still_read).max()))
