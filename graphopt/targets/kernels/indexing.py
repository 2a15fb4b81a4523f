"""Kernels that pick elements by computed positions, or put them there.

A position from run-time data is limited to its axis before use: wrong data gives a wrong element,
but never an access outside the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from tvm import tirx

from graphopt.ops import Gather, GatherElements, GatherNd, ScatterElements, ScatterNd, Tile
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.moves import gather
from graphopt.targets.kernels.nest import Index, emit_nest
from graphopt.targets.tir import Expr, Point, Tensor, largest, loop, smallest

COMBINE = {
    "none": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": largest,
    "min": smallest,
}


def position(indices: Tensor, at: Sequence[Expr], size: int) -> Expr:
    """The index at a point as int32: counted from the start of an axis of ``size``, and inside it."""
    index = tirx.Cast("int32", indices.load(Point(tuple(at))))
    wrapped = tirx.Select(index < 0, index + size, index)
    return tirx.max(0, tirx.min(size - 1, wrapped))


@kernel_rule(Gather, strided=True)
def gather_kernel(task: Task[Gather]) -> Kernel:
    (xv, iv), axis = task.inputs, task.op.axis
    size, rank = xv.type.static_shape[axis], iv.type.rank

    def emit(frame: Frame) -> None:
        x, indices = frame.tensors[xv], frame.tensors[iv]

        def value(index: Index) -> Expr:
            picked = position(indices, index[axis : axis + rank], size)
            return x.load(Point((*index[:axis], picked, *index[axis + rank :])))

        emit_nest(frame, value)

    return Kernel("gather", emit, {})


@kernel_rule(GatherElements, strided=True)
def gather_elements_kernel(task: Task[GatherElements]) -> Kernel:
    (xv, iv), axis = task.inputs, task.op.axis
    size = xv.type.static_shape[axis]

    def emit(frame: Frame) -> None:
        x, indices = frame.tensors[xv], frame.tensors[iv]

        def value(index: Index) -> Expr:
            return x.load(Point((*index[:axis], position(indices, index, size), *index[axis + 1 :])))

        emit_nest(frame, value)

    return Kernel("gather_elements", emit, {})


@kernel_rule(GatherNd, strided=True)
def gather_nd_kernel(task: Task[GatherNd]) -> Kernel:
    (xv, iv), batch = task.inputs, task.op.batch_dims
    shape, rank, depth = xv.type.static_shape, iv.type.rank, iv.type.static_shape[-1]

    def emit(frame: Frame) -> None:
        x, indices = frame.tensors[xv], frame.tensors[iv]

        def value(index: Index) -> Expr:
            row = index[: rank - 1]
            picked = [position(indices, (*row, i), shape[batch + i]) for i in range(depth)]
            return x.load(Point((*index[:batch], *picked, *index[rank - 1 :])))

        emit_nest(frame, value)

    return Kernel("gather_nd", emit, {})


@kernel_rule(Tile, strided=True)
def tile_kernel(task: Task[Tile]) -> Kernel:
    shape = task.inputs[0].type.static_shape
    return gather(task, lambda index: [tirx.floormod(i, d) for i, d in zip(index, shape, strict=True)])


def copy_of(frame: Frame, x: Tensor) -> None:
    """Set the result to ``x``."""
    index: list[Expr] = []
    with ExitStack() as loops:
        for axis, size in enumerate(x.shape):
            index.append(loops.enter_context(loop(f"i{axis}", 0, size)))
        frame.out.store(Point(tuple(index)), x.load(Point(tuple(index))))


@kernel_rule(ScatterElements, strided=True)
def scatter_elements_kernel(task: Task[ScatterElements]) -> Kernel:
    (xv, iv, uv), axis = task.inputs, task.op.axis
    size, combine = xv.type.static_shape[axis], COMBINE[task.op.reduction]

    def emit(frame: Frame) -> None:
        x, indices, updates = (frame.tensors[v] for v in (xv, iv, uv))
        copy_of(frame, x)
        index: list[Expr] = []
        with ExitStack() as loops:
            for at, extent in enumerate(indices.shape):
                index.append(loops.enter_context(loop(f"u{at}", 0, extent)))
            target = Point((*index[:axis], position(indices, index, size), *index[axis + 1 :]))
            frame.out.store(target, combine(frame.out.load(target), updates.load(Point(tuple(index)))))

    return Kernel("scatter_elements", emit, {})


@kernel_rule(ScatterNd, strided=True)
def scatter_nd_kernel(task: Task[ScatterNd]) -> Kernel:
    xv, iv, uv = task.inputs
    shape, rank, depth = xv.type.static_shape, iv.type.rank, iv.type.static_shape[-1]
    combine = COMBINE[task.op.reduction]

    def emit(frame: Frame) -> None:
        x, indices, updates = (frame.tensors[v] for v in (xv, iv, uv))
        copy_of(frame, x)
        index: list[Expr] = []
        with ExitStack() as loops:
            for at, extent in enumerate(updates.shape):
                index.append(loops.enter_context(loop(f"u{at}", 0, extent)))
            picked = [position(indices, (*index[: rank - 1], i), shape[i]) for i in range(depth)]
            target = Point((*picked, *index[rank - 1 :]))
            frame.out.store(target, combine(frame.out.load(target), updates.load(Point(tuple(index)))))

    return Kernel("scatter_nd", emit, {})
