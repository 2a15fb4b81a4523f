"""Winograd's convolution F(2x2, 3x3) of int8 by routines, exactly: for cores with the DSP extension.

It has 4 multiplications where the direct form has 9, and 16 halfwords of weights where that has 9 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import ConvInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.addition import ADD_SCALED
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.products import BLOCK
from graphopt.targets.instructions.winograd import (
    COLUMNS,
    FACTOR_BITS,
    MOST_BLOCKS,
    ROUTINES,
    STEP,
    SUM_BYTES,
    stream,
)
from graphopt.targets.kernels.addition import Addition
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_variant
from graphopt.targets.kernels.depthwise import depthwise_by_pairs
from graphopt.targets.kernels.geometry import Plane, as_plane, plane_of
from graphopt.targets.kernels.product_kernels import products_kernel, weights_of
from graphopt.targets.kernels.product_loops import ProductsConv
from graphopt.targets.kernels.product_sets import ProductSet
from graphopt.targets.kernels.products import conv_by_products
from graphopt.targets.kernels.scaling import limits_of
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.tile_windows import TileWindows, TwoTiles
from graphopt.targets.kernels.windows import Tile
from graphopt.targets.scalars import clamp
from graphopt.targets.tir import Expr, Point, Tensor, loop

TAPS = 9


class TileProducts(ProductsConv):
    """The loops: batch, two tiles side by side, and channels within the routine."""

    @property
    def most(self) -> int:
        return self.windows.pixels

    @property
    def blocks(self) -> int:
        return -(-self.depth // (TAPS * BLOCK))

    def routine(self, pixels: int) -> Instruction:
        return ROUTINES[self.scales, self.blocks > MOST_BLOCKS]

    @property
    def row(self) -> int:
        spare = self.padded - self.channels // self.lanes * self.lanes
        return spare if self.direct else self.padded

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        """Results of 8 bits lie behind the sums of a routine; others have a place of their own."""
        found = self.windows.scratch
        if not self.scales:
            return {**found, **self.results}
        return {**found, "between": Scratch("int8", max(found["between"].size, SUM_BYTES + self.most * self.row))}

    def in_scratch(self, frame: Frame) -> Tensor:
        """Results that do not go where they belong at once, pixel by pixel."""
        return replace(frame.scratch["between"], offset=SUM_BYTES) if self.scales else frame.scratch["results"]

    def write_scratch(self, frame: Frame, n: Expr, tile: Tile) -> None:
        self.run(frame, tile, (0, self.padded), self.in_scratch(frame).at(0), COLUMNS * self.row, self.row)

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        """Pairs of channels go into the result, a last one beside it."""
        assert isinstance(tile, TwoTiles)
        pitch, whole = out.strides[2], self.channels // self.lanes * self.lanes
        if not isinstance(tile.rows, int):
            pitch = tirx.Select(tile.rows < STEP, 0, pitch)
        if whole:
            self.run(frame, tile, (0, whole), out.at(n, 0, *tile.place(0, 0)), pitch, out.strides[3])
        if whole < self.channels:
            spare = self.in_scratch(frame)
            self.run(frame, tile, (whole, self.padded), spare.at(0), COLUMNS * self.row, self.row)
            with loop("row", 0, tile.rows) as row, loop("column", 0, COLUMNS) as column:
                at = Point(((row * COLUMNS + column) * self.row,))
                out.store(Point((n, whole, *tile.place(row, column))), spare.load(at))

    def run(self, frame: Frame, tile: Tile, channels: tuple[int, int], result: Expr, pitch: Expr, step: Expr) -> None:
        """Some channels, the first of which is the first of a pair; rows and columns of results are so far apart."""
        first, last = (channel // self.lanes for channel in channels)
        weights = frame.packed["weight"]
        begin = weights.at(first * (weights.shape[0] // (self.padded // self.lanes)))
        routine = self.routine(tile.pixels)
        sums = frame.scratch["between"].at(0)
        routine.run(tile.window, begin, result, sums, self.blocks, last - first, pitch, step)

    def store_rest(self, frame: Frame, tail: Tail, n: Expr, tile: Tile) -> None:
        """Of results in scratch, those that are not there already: what is added may have been in their place."""
        assert isinstance(tile, TwoTiles)
        with loop("row", 0, tile.rows) as row:
            left, slot = COLUMNS - tile.again, row * COLUMNS + tile.again
            if self.addition is not None and self.row == self.channels:
                at = (n, *tile.place(row, tile.again))
                self.add_run(frame, self.addition, tail.out, at, slot, left * self.channels)
                return
            with loop("column", 0, left) as column:
                at = (n, *tile.place(row, tile.again + column))
                if self.addition is not None:
                    self.add_run(frame, self.addition, tail.out, at, slot + column, self.channels)
                else:
                    self.store_pixel(frame, tail, at, slot + column)

    def add_run(
        self, frame: Frame, addition: Addition, out: Tensor, at: tuple[Expr, Expr, Expr], slot: Expr, count: Expr
    ) -> None:
        """Add an operand to so many results side by side, which are in scratch from a slot on."""
        other, (n, *place) = self.view(frame.tensors[addition.other]), at
        assert other is not None
        operands = self.in_scratch(frame).at(slot * self.row), other.at(n, 0, *place), out.at(n, 0, *place)
        ADD_SCALED.run(*operands, frame.packed["numbers"].at(0), count)

    def store_pixel(self, frame: Frame, tail: Tail, at: tuple[Expr, Expr, Expr], slot: Expr) -> None:
        """The epilogue of one pixel."""
        (n, *place), epilogue = at, frame.epilogue(self.view, int(self.scales))
        limits = limits_of(frame.task) if self.scales else None
        with loop("o", 0, self.channels) as o:
            point, value = Point((n, o, *place)), self.in_scratch(frame).load(Point((slot * self.row + o,)))
            tail.store(point, epilogue(value if limits is None else clamp(value, *limits), point))


def windows_of(plane: Plane, channels: int, strides: tuple[int, ...], zero_point: int) -> list[TileWindows]:
    if strides[1] != 1 and channels > 1:
        raise Decline("channels of its input do not stand side by side")
    return [TileWindows(plane, channels, strides, zero_point)]


def stream_of(rows: Array, bias: Array, scaling: Array, side_by_side: int) -> Array:
    return stream(rows.reshape(len(rows), -1, 3, 3), bias, scaling)


TILES = ProductSet({}, TileProducts, windows_of, stream_of, depthwise_by_pairs, bits=FACTOR_BITS)


@kernel_variant(conv_by_products, "winograd")
def conv_by_tiles(task: Task[ConvInteger]) -> Kernel:
    """Of 3x3 at strides of 1, by fewer multiplications."""
    x, w, _ = task.inputs
    window = task.op.window(w.type)
    if window.kernel != (3, 3) or {*window.strides, *window.dilations} != {1} or task.op.group > 1:
        raise Decline("it takes windows of 3x3, at strides and dilations of 1, in one group")
    if "mve" in task.target.sets:
        raise Decline("vectors have more products at once")
    if task.region.tail is not None:
        raise Decline("a pooling would take some results twice")
    (n, _, *size), (*_, height, width) = x.type.static_shape, task.result.type.static_shape
    if width < COLUMNS:
        raise Decline(f"its rows have fewer than {COLUMNS} pixels")
    weight, plane = weights_of(task, TILES), plane_of(tuple(size), (height, width), window)
    made = products_kernel(task, "winograd_3x3", n, plane, weight, as_plane, TILES)
    grown = sum(data.nbytes for data in made.packed.values())
    note = f"weights grow from {weight.nbytes:,} to {grown:,} bytes"
    return replace(made, rows=STEP, notes=(*made.notes, note))
