"""Winograd's convolution F(2x2, 3x3) of floats: 16 products where the direct form has 36 (Lavin and Gray, 2016).

A tile of 4x4 inputs d gives 2x2 results A^T ((G w G^T) * (B^T d B)) A, where * goes element by element and is summed
over channels: for each of the 16 places a matrix product, of tiles by channels. Weights are transformed when compiled.

    strip of the input -> B^T d B of its tiles -> 16 products -> A^T m A, epilogue

What is between stays in scratch. Sums are shorter than in the direct form, and rounding errors smaller. A NaN or an
infinity of the input reaches all results of the tiles that read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import Conv, Window
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.geometry import Plane, as_plane, plane_of
from graphopt.targets.kernels.strip_conv import Tiling, copy_cost, direct_cost, tiles_cost
from graphopt.targets.kernels.strips import PaddedStrips
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.tiled import Channels, PackedWeights, TiledConv, finishing, pack_weights
from graphopt.targets.schedule import Segment, balanced, channel_segments, choose_tile, runs, spread
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop, when
from graphopt.targets.weights import Storage, expect_whole

INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
"""B^T."""
WEIGHT = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
"""G."""
RESULT = ((1, 1, 1, 0), (0, 1, -1, -1))
"""A^T."""
SIDE, STEP, PLACES = 4, 2, 16
"""Of a tile: the inputs along an axis, the results along it, and the products."""
LINE = 16
"""The elements of a line of the cache."""
ROOM = 3 << 18
"""The bytes of what is between the transforms of a strip: it stays in the second cache."""
LEAST_TILES = 24
"""Of a strip all the same, so that weights are not read too often."""
TRANSFORM = 80
"""What the transform of a tile costs, of one vector of channels, in multiply-adds of vectors."""
NEAR = 1 << 19
FAR_BYTES = 3
"""More weights than the first come from far, so many bytes in the time of a multiply-add."""
LEAST_GAIN = 0.15
"""For which weights may grow."""


@kernel_rule(Conv, isa="x86", strided=True)
@kernel_rule(Conv, isa="arm", strided=True)
def conv_by_winograd(task: Task[Conv]) -> Kernel:
    """Convolution of 3x3 at strides of 1, where it is expected to be faster than the direct form."""
    x, w, b = task.inputs
    if w.constant is None or b.constant is None or x.type.dtype != "float32" or x.type.rank != 4:
        raise Decline("it takes float32 over two axes, and constant weights")
    window = task.op.window(w.type)
    if window.kernel != (3, 3) or {*window.strides, *window.dilations} != {1} or task.op.group > 1:
        raise Decline("it takes windows of 3x3, at strides and dilations of 1, in one group")
    expect_whole(w)
    (n, c, *size), (_, o, *out) = x.type.static_shape, task.result.type.static_shape
    kernel = Winograd(plane_of(tuple(size), tuple(out), window), c, o, task.target)
    saved = kernel.saved(as_plane(task.strided(x)).strides[1] == 1)
    if saved < LEAST_GAIN:
        raise Decline(f"it would save {max(0.0, saved):.0%}, less than {LEAST_GAIN:.0%}")
    packed = {"bias": b.constant, "weight": kernel.packed(w.constant)}
    note = f"weights grow from {w.constant.nbytes:,} to {packed['weight'].nbytes:,} bytes"
    tile = choose_tile(task.target, kernel.tiles(kernel.strips.size), o)
    scratch = kernel.scratch
    return Kernel(
        "winograd_3x3", lambda frame: kernel.emit(frame, n), packed, (w, b), tile, scratch=scratch, notes=(note,)
    )


def transformed(matrix: Sequence[Sequence[float]], values: Sequence[Expr]) -> list[Expr]:
    """A matrix of 0, 1 and -1 times a column of vectors, kept in local variables."""
    kept = Locals("t", len(matrix), str(values[0].ty))
    for i, row in enumerate(matrix):
        added, taken = ([v for k, v in zip(row, values, strict=True) if k == sign] for sign in (1, -1))
        total = sum(added[1:], start=added[0])
        for value in taken:
            total = total - value
        kept[i] = total
    return [kept[i] for i in range(len(matrix))]


def both_ways(matrix: Sequence[Sequence[float]], values: Callable[[int, int], Expr]) -> list[list[Expr]]:
    """matrix @ values @ matrix^T, of a tile whose values are given by row and column."""
    columns = [transformed(matrix, [values(row, column) for row in range(SIDE)]) for column in range(SIDE)]
    return [transformed(matrix, [column[row] for column in columns]) for row in range(len(matrix))]


def pitch(tiles: int, channels: int) -> int:
    """From a place to the next, in elements: an odd number of cache lines, so that all have not the same set."""
    return LINE * (-(-tiles * channels // LINE) | 1)


@dataclass(frozen=True)
class Winograd:
    """The loops: batch, strip of rows of tiles; in it the transforms and products of all its tiles."""

    plane: Plane
    inputs: int
    outputs: int
    target: Target

    @property
    def even(self) -> Plane:
        """The plane with whole tiles."""
        out = tuple(-(-size // STEP) * STEP for size in self.plane.out)
        return Plane(self.plane.size, out, self.plane.window)

    @cached_property
    def strips(self) -> PaddedStrips:
        """Strips of whole tiles, as many rows of them as there is room for what they become."""
        down, across = (size // STEP for size in self.even.out)
        most = max(ROOM // (4 * PLACES * (self.inputs + self.outputs)), LEAST_TILES) // across
        rows = STEP * balanced(down, min(down, max(1, most)))
        row = 4 * self.inputs * (self.even.out[1] + SIDE - STEP)
        room = row * (rows + SIDE - STEP)
        return PaddedStrips(self.even, self.inputs, 0, "float32", self.target.lanes, 1, room, rows)

    def tiles(self, size: int) -> int:
        """Of a strip of so many rows."""
        return size // STEP * (self.even.out[1] // STEP)

    @property
    def scratch(self) -> dict[str, Scratch]:
        tiles = self.tiles(self.strips.size)
        return {
            "strip": self.strips.scratch,
            "spread": Scratch("float32", PLACES * pitch(tiles, self.inputs)),
            "products": Scratch("float32", PLACES * pitch(tiles, self.outputs)),
        }

    @property
    def segments(self) -> list[Segment]:
        tile = choose_tile(self.target, self.tiles(self.strips.size), self.outputs)
        return channel_segments(self.outputs, self.target.lanes, tile.vectors)

    def packed(self, weight: Array) -> Array:
        """Weights [o, i, 3, 3] as G w G^T, of each place as those of a product."""
        places = np.einsum("ai,ocij,bj->aboc", WEIGHT, weight.astype(np.float64), WEIGHT)
        products = places.reshape(PLACES, self.outputs, self.inputs, 1, 1).astype(np.float32)
        channels = Channels(1, self.inputs, self.outputs)
        return np.concatenate([pack_weights(product, channels, self.segments) for product in products])

    def saved(self, side_by_side: bool) -> float:
        """Which share of the direct form's time it is expected to save."""
        lanes, channels = self.target.lanes, Channels(1, self.inputs, self.outputs)
        tiling = Tiling.of(self.target, self.plane, self.outputs)
        blocks = self.inputs * -(-self.outputs // (lanes * tiling.tile.vectors))
        direct = blocks * float(min(direct_cost(self.target, self.plane, channels), 9 * tiling.cost))
        direct += self.from_far(9, 1)
        strips = runs(self.even.out[0], self.strips.size)
        cost = copy_cost(self.strips, side_by_side) + self.from_far(PLACES, sum(count for _, count, _ in strips))
        for _, count, size in strips:
            tile = choose_tile(self.target, self.tiles(size), self.outputs)
            blocks = self.inputs * -(-self.outputs // (lanes * tile.vectors))
            products = PLACES * tiles_cost(spread(self.tiles(size), tile.pixels), tile.vectors) * blocks
            vectors = -(-self.inputs // lanes) + -(-self.outputs // lanes)
            cost += count * (products + TRANSFORM * self.tiles(size) * vectors)
        return 1 - cost / direct

    def from_far(self, places: int, times: int) -> float:
        """What it costs to read weights so often, where they do not stay near."""
        weights = 4 * places * self.inputs * self.outputs
        return times * weights / FAR_BYTES if weights > NEAR else 0

    def emit(self, frame: Frame, batch: int) -> None:
        x, tail = as_plane(frame.tensors[frame.task.inputs[0]]), Tail(frame, as_plane)
        tail.prefill()
        strip = frame.scratch["strip"]
        with loop("n", 0, batch) as n:
            for begin, count, size in runs(self.even.out[0], self.strips.size):
                with loop("strip", 0, count) as i:
                    first = begin + i * size
                    self.strips.write(strip, x, n, first, size)
                    self.emit_inputs(frame, size)
                    self.emit_products(frame, size)
                    self.emit_results(frame, tail, n, first, size)

    def between(self, buffer: Tensor, channels: int, size: int) -> Tensor:
        """What is between the transforms of a strip, [place, channel, 1, tile]."""
        tiles = self.tiles(size)
        shape, strides = (PLACES, channels, 1, tiles), (pitch(tiles, channels), 1, 0, channels)
        return Tensor(buffer.buffer, "float32", shape, strides)

    def each_tile(self, size: int, channels: int, emit: Callable[[Expr, Expr, Expr, Point], None]) -> None:
        """Call ``emit`` with row, column and number of each tile of a strip, by vectors of channels."""
        across = self.even.out[1] // STEP
        with loop("row", 0, size // STEP) as row, loop("column", 0, across) as column:
            for segment in channel_segments(channels, self.target.lanes, 1):
                with loop("block", 0, segment.blocks) as block:
                    channel = segment.start + block * segment.lanes
                    emit(row, column, row * across + column, Point((channel,), 0, segment.lanes))

    def emit_inputs(self, frame: Frame, size: int) -> None:
        """B^T d B of all tiles of a strip."""
        strip = self.strips.view(frame.scratch["strip"])
        out = self.between(frame.scratch["spread"], self.inputs, size)

        def tile(row: Expr, column: Expr, number: Expr, channels: Point) -> None:
            def element(y: int, x: int) -> Expr:
                place = (0, channels.index[0], row * STEP + y, column * STEP + x)
                return strip.load(Point(place, 1, channels.lanes))

            for y, values in enumerate(both_ways(INPUT, element)):
                for x, value in enumerate(values):
                    out.store(Point((y * SIDE + x, channels.index[0], 0, number), 1, channels.lanes), value)

        self.each_tile(size, self.inputs, tile)

    def emit_products(self, frame: Frame, size: int) -> None:
        """Of each place the tiles by its weights."""
        tiles = self.tiles(size)
        spread_, products = (
            self.between(frame.scratch[name], count, size)
            for name, count in (("spread", self.inputs), ("products", self.outputs))
        )
        plane = Plane((1, tiles), (1, tiles), Window.of((1, 1), (), ()))
        pixels = choose_tile(self.target, tiles, self.outputs).pixels
        with loop("place", 0, PLACES) as place:
            start = place * (self.inputs * self.outputs)
            weights = PackedWeights(frame.packed, Storage(), "float32", self.target.codegen, start=start)
            channels = Channels(1, self.inputs, self.outputs)
            product = TiledConv(spread_, channels, plane, pixels, weights, zeros, products.store, cut=spread)
            product.emit_sample(place, self.segments)

    def emit_results(self, frame: Frame, tail: Tail, n: Expr, first: Expr, size: int) -> None:
        """A^T m A of all tiles of a strip, the bias and the epilogue."""
        products = self.between(frame.scratch["products"], self.outputs, size)
        bias, store = frame.packed["bias"], finishing(frame, as_plane, tail)
        height, width = self.plane.out

        def tile(row: Expr, column: Expr, number: Expr, channels: Point) -> None:
            def product(y: int, x: int) -> Expr:
                return products.load(Point((y * SIDE + x, channels.index[0], 0, number), 1, channels.lanes))

            for y, values in enumerate(both_ways(RESULT, product)):
                for x, value in enumerate(values):
                    at = first + row * STEP + y, column * STEP + x
                    inside = [at[0] < height] * (y and height % STEP) + [at[1] < width] * (x and width % STEP)
                    with when(tirx.all(*inside) if inside else True):
                        store(Point((n, channels.index[0], *at), 1, channels.lanes), value + bias.load(channels))

        self.each_tile(size, self.outputs, tile)


def zeros(channel: Expr, lanes: int) -> Expr:
    return tirx.const(0.0, "float32" if lanes == 1 else f"float32x{lanes}")
