"""Matrix product of two float32 operands that are computed at run time, in tiles of registers.

A block of columns of the right operand is packed into scratch, where enough rows use it; few rows read it in place. If
there are very few rows, and the elements of a column stand side by side, each result is a dot product along them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tvm import tirx

from graphopt.ops import MatMul
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.dots import DotProducts
from graphopt.targets.kernels.packing import PackedColumns
from graphopt.targets.kernels.product_form import ProductForm, form_of
from graphopt.targets.schedule import (
    RegisterTile,
    Segment,
    channel_segments,
    choose_product_tile,
    padded_segments,
    powers_of_two,
    runs,
)
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop

IN_PLACE_ROWS = 12
"""So few rows read the right operand in place: to pack it would cost more than it gives."""
DOT_ROWS = 3
"""So few rows are products along the depth, where it is side by side."""
STRIP_BYTES = 1 << 18
"""Of the rows of the left operand that use a block before the next one is packed: what the second cache holds."""
LEAST_STRIP = 96
"""Rows in a strip at least, so that packing is a small part."""


@kernel_rule(MatMul, isa="llvm")
def matmul_by_tiles(task: Task[MatMul]) -> Kernel:
    """A batch of products [m, k] by [k, n], of any strides."""
    if task.result.type.dtype != "float32":
        raise Decline("it takes float32")
    form = form_of(task)
    a, b = (task.strided(v) for v in task.inputs)
    along = form.right(a, b).strides
    if form.rows <= DOT_ROWS and along[-2] == 1 and (along[-1] != 1 or form.columns == 1):
        dots = DotProducts(form, task.target.lanes)
        return Kernel("matmul_dots", dots.emit, {}, scratch=dots.scratch)
    product = tiled(form, along[-1] != 1 or form.rows > IN_PLACE_ROWS, task.target)
    return Kernel("matmul", product.emit, {}, tile=product.tile, scratch=product.scratch)


def tiled(form: ProductForm, packs: bool, target: Target) -> TiledProduct:
    tile = choose_product_tile(target, form.rows, form.columns)
    cut = padded_segments if packs else channel_segments
    return TiledProduct(form, cut(form.columns, target.lanes, tile.vectors), tile, packs)


@dataclass(frozen=True)
class TiledProduct:
    """The loops: batch, strip of rows, block of columns, tile of rows, depth."""

    form: ProductForm
    segments: list[Segment]
    tile: RegisterTile
    packs: bool

    @property
    def columns(self) -> PackedColumns:
        return PackedColumns(self.form.depth, self.form.columns)

    @property
    def scratch(self) -> dict[str, Scratch]:
        width = max(segment.width for segment in self.segments)
        return {"columns": Scratch("float32", self.form.depth * width)} if self.packs else {}

    @property
    def strip(self) -> int:
        """Rows in a strip: whole tiles."""
        rows = max(LEAST_STRIP, STRIP_BYTES // (4 * self.form.depth))
        return min(self.form.rows, -(-rows // self.tile.pixels) * self.tile.pixels)

    def emit(self, frame: Frame) -> None:
        operands = [frame.tensors[v] for v in frame.task.inputs]
        left, right = self.form.left(*operands[:2]), self.form.right(*operands[:2])
        assert left is not None
        tile = Tile(self, frame, left, right)
        shared = [axis for axis, size in enumerate(self.form.outer) if size > 1 and not right.strides[axis]]
        own = [axis for axis, size in enumerate(self.form.outer) if size > 1 and right.strides[axis]]
        with loops(self.form.outer, own, [0] * len(self.form.outer)) as outer:
            for start, count, size in runs(self.form.rows, self.strip):
                with loop("strip", 0, count) as i:
                    for segment in self.segments:
                        with loop("block", 0, segment.blocks) as block:
                            column = segment.start + block * segment.width
                            if self.packs:
                                self.columns.write(frame.scratch["columns"], right, tuple(outer), column, segment)
                            with loops(self.form.outer, shared, outer) as lead:
                                for at, tiles, rows in runs(size, self.tile.pixels):
                                    with loop("tile", 0, tiles) as t:
                                        row = start + i * size + at + t * rows
                                        tile.emit(segment, (*lead, row, column), rows)


@contextmanager
def loops(sizes: tuple[int, ...], axes: list[int], index: list[Expr]) -> Iterator[list[Expr]]:
    """Loops over some axes; gives the index with their variables."""
    index = list(index)
    with ExitStack() as stack:
        for axis in axes:
            index[axis] = stack.enter_context(loop(f"i{axis}", 0, sizes[axis]))
        yield index


class Tile:
    """Sums of so many rows by a block of columns, in registers over the whole depth."""

    def __init__(self, product: TiledProduct, frame: Frame, left: Tensor, right: Tensor) -> None:
        self.product, self.left, self.right = product, left, right
        self.packed = frame.scratch.get("columns")
        self.epilogue = frame.epilogue(product.form.result)
        out = product.form.result(frame.out)
        assert out is not None
        self.out = out

    def emit(self, segment: Segment, at: tuple[Expr, ...], rows: int) -> None:
        """The tile that begins at an index of the result."""
        *lead, row, column = at
        lanes, vectors = segment.lanes, segment.vectors
        acc = Locals("acc", rows * vectors, "float32", lanes)
        for i in range(rows * vectors):
            acc[i] = acc.constant(0.0)
        with loop("k", 0, self.product.form.depth) as k:
            columns = [self.columns(segment, (*lead, k, column), v) for v in range(vectors)]
            for r in range(rows):
                x = self.left.load(Point((*lead, row + r, k)))
                x = tirx.Broadcast(x, lanes) if lanes > 1 else x
                for v in range(vectors):
                    acc[r * vectors + v] = acc[r * vectors + v] + x * columns[v]
        there = self.product.columns.width(segment)
        for r in range(rows):
            for v in range(vectors):
                for start, size in powers_of_two(max(0, min(lanes, there - v * lanes))):
                    sums = acc[r * vectors + v]
                    part = sums if size == lanes else tirx.Shuffle([sums], list(range(start, start + size)))
                    point = Point((*lead, row + r, column + v * lanes + start), len(lead) + 1, size)
                    self.out.store(point, self.epilogue(part, point))

    def columns(self, segment: Segment, at: tuple[Expr, ...], vector: int) -> Expr:
        """A vector of a row of the right operand."""
        *lead, k, column = at
        first = vector * segment.lanes
        if self.packed is not None:
            return self.packed.load(Point((k * segment.width + first,), 0, segment.lanes))
        return self.right.load(Point((*lead, k, column + first), len(lead) + 1, segment.lanes))
