"""Copies from strides to other strides, for LLVM: in vectors, or in tiles that are turned in registers.

LLVM makes vectors of a plain nest if elements stand side by side in the result and at most a few apart in the operand.
What else there is, is written here. Copies are of whole elements: nothing is computed of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
from tvm import tirx

from graphopt.targets.kernels.base import physical_loops
from graphopt.targets.kernels.rows import merged_axes, merging
from graphopt.targets.kernels.turned import most_rows, turned
from graphopt.targets.schedule import channel_segments
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Point, Tensor, loop

LEAST_ROWS = 4
"""Of a tile that is turned."""
MOST_PLANES = 8
"""That are interleaved."""
MOST_APART = 4
"""Elements from one that is picked to the next."""


def raw(tensor: Tensor) -> Tensor:
    """A tensor whose elements are copied as they are stored."""
    return replace(tensor, dtype="uint8") if tensor.dtype == "bool" else tensor


def part(tensor: Tensor, axis: int, start: Expr, size: int, step: int = 1) -> Tensor:
    """So many elements along an axis."""
    shape, strides = list(tensor.shape), list(tensor.strides)
    offset = tensor.offset + start * strides[axis]
    shape[axis], strides[axis] = size, step * strides[axis]
    return replace(tensor, shape=tuple(shape), strides=tuple(strides), offset=offset)


def split(tensor: Tensor, axis: int, inner: int) -> Tensor:
    """An axis as two, of which the second one has so many elements."""
    size, stride = tensor.shape[axis], tensor.strides[axis]
    shape = (*tensor.shape[:axis], size // inner, inner, *tensor.shape[axis + 1 :])
    return replace(
        tensor, shape=shape, strides=(*tensor.strides[:axis], inner * stride, stride, *tensor.strides[axis + 1 :])
    )


def lanes_of(target: Target, dtype: str) -> int:
    """The elements of a register."""
    return max(1, 4 * target.lanes // np.dtype(dtype).itemsize)


@dataclass(frozen=True)
class StridedCopy:
    """From one tensor to another of the same shape, which need have no buffers until it is written."""

    target: Target
    out: Tensor
    x: Tensor

    @property
    def merged(self) -> StridedCopy:
        """With the axes of more than one element alone, in the order of the result; those that lie as one are one."""
        out, x = (replace(raw(t), shape=t.shape or (1,), strides=t.strides or (1,)) for t in (self.out, self.x))
        view = merging(merged_axes(out, [x]))
        return replace(self, out=view(out), x=view(x))

    @property
    def across(self) -> int | None:
        """The axis along which elements of the operand stand side by side, if tiles are turned."""
        *outer, inner = range(len(self.out.shape))
        found = [a for a in outer if self.x.strides[a] == 1 and self.x.shape[a] >= LEAST_ROWS]
        return found[0] if found and self.x.shape[inner] >= LEAST_ROWS and self.x.strides[inner] > 1 else None

    @property
    def interleaves(self) -> bool:
        """Whether few elements of each of those along the last axis but one stand side by side in the result."""
        if len(self.out.shape) < 2 or self.x.strides[-2] != 1:
            return False
        planes, strides = self.out.shape[-1], self.out.strides
        return strides[-1] == 1 and strides[-2] == planes <= MOST_PLANES and self.out.shape[-2] >= LEAST_ROWS

    def emit(self) -> None:
        """Write its loops."""
        copy = self.merged
        if copy.out.strides[-1] != 1:
            copy.each(copy.element, 0)
        elif copy.interleaves:
            copy.each(copy.interleaved, 2)
        elif copy.x.strides[-1] in (0, 1):
            copy.each(copy.vectors, 1)
        elif 1 < copy.x.strides[-1] <= MOST_APART:
            copy.each(copy.picked, 1)
        elif copy.across is not None:
            copy.tiles(copy.across)
        else:
            copy.each(copy.element, 0)

    def each(self, emit: Callable[[Sequence[Expr]], None], inner: int) -> None:
        """Loops over all axes but the last few, with the statements for each index of them."""
        with ExitStack() as loops:
            sizes = self.out.shape[: len(self.out.shape) - inner]
            emit([loops.enter_context(loop(f"i{a}", 0, size)) for a, size in enumerate(sizes)])

    def element(self, index: Sequence[Expr]) -> None:
        self.out.store(Point(tuple(index)), self.x.load(Point(tuple(index))))

    def vectors(self, outer: Sequence[Expr]) -> None:
        """All of the last axis, side by side in both, or one element of the operand in all."""
        for segment in channel_segments(self.out.shape[-1], lanes_of(self.target, self.out.dtype), 1):
            with loop("block", 0, segment.blocks) as block:
                at = Point((*outer, segment.start + block * segment.lanes), len(outer), segment.lanes)
                self.out.store(at, self.x.load(at))

    def picked(self, outer: Sequence[Expr]) -> None:
        """All of the last axis, of elements a few apart: out of vectors, of which none ends behind the last element."""
        step, line = self.x.strides[-1], Tensor(self.x.buffer, self.x.dtype, (1,), (1,))
        for segment in channel_segments(self.out.shape[-1], lanes_of(self.target, self.out.dtype), 1):
            lanes = segment.lanes
            starts = [*(k * lanes for k in range(step - 1)), (lanes - 1) * step + 1 - lanes]
            owners = [min(i * step // lanes, step - 1) for i in range(lanes)]
            lane = [k * lanes + i * step - starts[k] for i, k in enumerate(owners)]
            with loop("block", 0, segment.blocks) as block:
                at = Point((*outer, segment.start + block * lanes), len(outer), lanes)
                first = self.x.address(at.index)
                if lanes == 1:
                    self.out.store(at, self.x.load(at))
                    continue
                loaded = [line.load(Point((first + start,), 0, lanes)) for start in starts]
                self.out.store(at, tirx.Shuffle(loaded, lane))

    def interleaved(self, outer: Sequence[Expr]) -> None:
        """The last two axes: vectors along the first of them, shuffled, and the rest one by one."""
        planes, axis, line = self.out.shape[-1], len(outer), Tensor(self.out.buffer, self.out.dtype, (1,), (1,))
        for segment in channel_segments(self.out.shape[-2], lanes_of(self.target, self.out.dtype), 1):
            lanes = segment.lanes
            with loop("block", 0, segment.blocks) as block:
                first = segment.start + block * lanes
                start = self.out.address((*outer, first, 0))
                if lanes == 1:
                    for p in range(planes):
                        line.store(Point((start + p,)), self.x.load(Point((*outer, first, p))))
                    continue
                alike = 1 if self.x.strides[-1] == 0 else planes
                loaded = [self.x.load(Point((*outer, first, p), axis, lanes)) for p in range(alike)]
                for p in range(planes):
                    elements = range(p * lanes, (p + 1) * lanes)
                    picked = [e % planes % alike * lanes + e // planes for e in elements]
                    line.store(Point((start + p * lanes,), 0, lanes), tirx.Shuffle(loaded, picked))

    def tiles(self, across: int) -> None:
        """Tiles of the last axis and of another one."""
        last = len(self.out.shape) - 1
        limits = self.out.shape[across], self.out.shape[last], most_rows(self.target, self.out.dtype)
        rows = 1 << min(limits).bit_length() - 1
        with turning_loops(self.out, across, last, rows) as at:
            loaded = [self.x.load(at(last, i, across)) for i in range(rows)]
            for i, column in enumerate(turned(loaded, self.out.dtype)):
                self.out.store(at(across, i, last), column)


@contextmanager
def turning_loops(out: Tensor, across: int, last: int, rows: int) -> Iterator[Callable[[int, int, int], Point]]:
    """Loops over square tiles of two axes, and over all others outside of them.

    It gives a function to points of so many lanes: the i-th along one axis, with its lanes along the other. Where tiles
    do not fill an axis, the last ones begin before the end of those before.
    """
    index: list[Expr] = [0] * len(out.shape)
    with ExitStack() as loops:
        for axis in [*(a for a in order_of(out) if a not in (across, last)), across, last]:
            size = out.shape[axis]
            if axis not in (across, last):
                index[axis] = loops.enter_context(loop(f"i{axis}", 0, size))
                continue
            block = loops.enter_context(loop(f"block{axis}", 0, -(-size // rows)))
            index[axis] = block * rows if size % rows == 0 else tirx.min(block * rows, size - rows)

        def at(axis: int, i: int, lane_axis: int) -> Point:
            return Point(tuple(p + i if a == axis else p for a, p in enumerate(index)), lane_axis, rows)

        yield at


def fill(out: Tensor, number: float, target: Target) -> None:
    """All elements set to one number."""
    stored = raw(out)
    seen = merging(merged_axes(stored))(stored)
    value, lanes = tirx.const(number, seen.dtype), lanes_of(target, seen.dtype) if seen.strides[-1] == 1 else 1
    with ExitStack() as loops:
        index = [loops.enter_context(loop(f"i{a}", 0, size)) for a, size in enumerate(seen.shape[:-1])]
        for segment in channel_segments(seen.shape[-1], lanes, 1):
            with loop("block", 0, segment.blocks) as block:
                at = Point((*index, segment.start + block * segment.lanes), len(index), segment.lanes)
                seen.store(at, value if segment.lanes == 1 else tirx.Broadcast(value, segment.lanes))


def order_of(out: Tensor) -> list[int]:
    """The axes in the order of memory, outermost first."""
    return physical_loops(out.shape, out.strides)
