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
from graphopt.targets.instructions.winograd import DOUBLED, INPUT, PLACES, RESULT
from graphopt.targets.kernels.ahead import SECOND_CACHE
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

WEIGHT = tuple(tuple(w / 2 for w in row) for row in DOUBLED)
"""G."""
LINE = 64
"""The bytes of a line of the cache."""
ROOM = 3 << 18
"""The bytes of what is between the transforms of a strip: it stays in the second cache."""
LEAST_TILES = 24
"""Of a strip all the same, so that weights are not read too often."""
TRANSFORM = 50
"""What the transform of a tile costs, of one vector of channels, in multiply-adds of vectors."""
FAR_BYTES = 64
"""Of weights that the second cache does not hold, so many come in the time of a multiply-add: they are prefetched."""
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


Matrix = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Axis:
    """The transforms along one axis of a tile."""

    input: Matrix
    weight: Matrix
    result: Matrix

    @property
    def step(self) -> int:
        """Results of a tile."""
        return len(self.result)


OF_THREE_TAPS, OF_ONE_TAP = Axis(INPUT, WEIGHT, RESULT), Axis(((1,),), ((1,),), ((1,),))


def transformed(matrix: Matrix, values: Sequence[Expr]) -> list[Expr]:
    """A matrix of 0, 1 and -1 times a column of vectors, kept in local variables."""
    kept = Locals("t", len(matrix), str(values[0].ty))
    for i, row in enumerate(matrix):
        added, taken = ([v for k, v in zip(row, values, strict=True) if k == sign] for sign in (1, -1))
        total = sum(added[1:], start=added[0])
        for value in taken:
            total = total - value
        kept[i] = total
    return [kept[i] for i in range(len(matrix))]


def both_ways(down: Matrix, across: Matrix, values: Callable[[int, int], Expr]) -> list[list[Expr]]:
    """down @ values @ across^T, of a tile whose values are given by row and column."""
    rows, columns = range(len(down[0])), range(len(across[0]))
    halves = [transformed(down, [values(row, column) for row in rows]) for column in columns]
    return [transformed(across, [half[row] for half in halves]) for row in range(len(down))]


def pitch(tiles: int, channels: int, dtype: str) -> int:
    """From a place to the next, in elements: an odd number of cache lines, so that all have not the same set."""
    line = LINE // np.dtype(dtype).itemsize
    return line * (-(-tiles * channels // line) | 1)


def from_far(nbytes: int, times: int) -> float:
    """What it costs to read weights of so many bytes so often."""
    return times * nbytes / FAR_BYTES if nbytes > SECOND_CACHE else 0


@dataclass(frozen=True)
class Winograd:
    """The loops: batch, strip of rows of tiles; in it the transforms and products of all its tiles."""

    plane: Plane
    inputs: int
    outputs: int
    target: Target

    @property
    def axes(self) -> tuple[Axis, Axis]:
        down, across = (OF_THREE_TAPS if taps == 3 else OF_ONE_TAP for taps in self.plane.window.kernel)
        return down, across

    @property
    def places(self) -> int:
        """The products of a tile."""
        return len(self.axes[0].input) * len(self.axes[1].input)

    @property
    def even(self) -> Plane:
        """The plane with whole tiles."""
        steps = self.axes[0].step, self.axes[1].step * self.dilation
        out = tuple(-(-size // step) * step for size, step in zip(self.plane.out, steps, strict=True))
        return Plane(self.plane.size, out, self.plane.window)

    @property
    def dilation(self) -> int:
        """Of windows across."""
        window = self.plane.window
        return window.dilations[1] if window.kernel[1] > 1 else 1

    @property
    def across(self) -> int:
        """Tiles side by side."""
        return self.even.out[1] // self.axes[1].step

    def column(self, tile: Expr, place: int) -> Expr:
        """An input or a result of a tile of a row: they are the dilation apart, and so many tiles interleave."""
        dilation, step = self.dilation, self.axes[1].step
        if dilation == 1:
            return tile * step + place
        return tirx.floordiv(tile, dilation) * (step * dilation) + tirx.floormod(tile, dilation) + place * dilation

    @cached_property
    def strips(self) -> PaddedStrips:
        return self.strips_of("float32", 0, self.target.lanes, 4 * (self.inputs + self.outputs))

    def strips_of(self, dtype: str, fill_value: int, lanes: int, between: int) -> PaddedStrips:
        """Strips of whole tiles, as many rows as there is room for what they become: ``between`` bytes a place."""
        step = self.axes[0].step
        down = self.even.out[0] // step
        most = max(ROOM // (self.places * between), LEAST_TILES) // self.across
        rows = step * balanced(down, min(down, max(1, most)))
        extent = self.plane.window.extent
        pixels = (rows + extent[0] - 1) * (self.even.out[1] + extent[1] - 1)
        room = np.dtype(dtype).itemsize * self.inputs * pixels
        return PaddedStrips(self.even, self.inputs, fill_value, dtype, lanes, 1, room, rows)

    @property
    def depth(self) -> int:
        """Channels of a transformed input."""
        return self.inputs

    @property
    def width(self) -> int:
        """Channels of the products."""
        return self.outputs

    def whole(self, result: Expr) -> Expr:
        """A result of the direct form, without the bias, of what the last transform gives."""
        return result

    def tiles(self, size: int) -> int:
        """Of a strip of so many rows."""
        return size // self.axes[0].step * self.across

    @property
    def scratch(self) -> dict[str, Scratch]:
        tiles = self.tiles(self.strips.size)
        return {
            "strip": self.strips.scratch,
            "spread": Scratch("float32", PLACES * pitch(tiles, self.inputs, "float32")),
            "products": Scratch("float32", PLACES * pitch(tiles, self.outputs, "float32")),
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
        weights = 4 * self.inputs * self.outputs
        direct += from_far(9 * weights, 1)
        strips = runs(self.even.out[0], self.strips.size)
        cost = copy_cost(self.strips, side_by_side) + from_far(PLACES * weights, sum(count for _, count, _ in strips))
        for _, count, size in strips:
            tile = choose_tile(self.target, self.tiles(size), self.outputs)
            blocks = self.inputs * -(-self.outputs // (lanes * tile.vectors))
            products = PLACES * tiles_cost(spread(self.tiles(size), tile.pixels), tile.vectors) * blocks
            vectors = -(-self.inputs // lanes) + -(-self.outputs // lanes)
            cost += count * (products + TRANSFORM * self.tiles(size) * vectors)
        return 1 - cost / direct

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
        shape, strides = (self.places, channels, 1, tiles), (pitch(tiles, channels, buffer.dtype), 1, 0, channels)
        return Tensor(buffer.buffer, buffer.dtype, shape, strides)

    def each_tile(self, size: int, channels: int, lanes: int, emit: Callable[[Expr, Expr, Expr, Point], None]) -> None:
        """Call ``emit`` with row, column and number of each tile of a strip, by vectors of channels."""
        with loop("row", 0, size // self.axes[0].step) as row, loop("column", 0, self.across) as column:
            for segment in channel_segments(channels, lanes, 1):
                with loop("block", 0, segment.blocks) as block:
                    channel = segment.start + block * segment.lanes
                    emit(row, column, row * self.across + column, Point((channel,), 0, segment.lanes))

    def emit_inputs(self, frame: Frame, size: int) -> None:
        """B^T d B of all tiles of a strip."""
        strip = self.strips.view(frame.scratch["strip"])
        out = self.between(frame.scratch["spread"], self.depth, size)
        down, across = self.axes

        def tile(row: Expr, column: Expr, number: Expr, channels: Point) -> None:
            def element(y: int, x: int) -> Expr:
                place = (0, channels.index[0], row * down.step + y, self.column(column, x))
                return strip.load(Point(place, 1, channels.lanes))

            for y, values in enumerate(both_ways(down.input, across.input, element)):
                for x, value in enumerate(values):
                    place = y * len(values) + x
                    out.store(Point((place, channels.index[0], 0, number), 1, channels.lanes), value)

        self.each_tile(size, self.inputs, self.strips.lanes, tile)

    def emit_products(self, frame: Frame, size: int) -> None:
        """Of each place the tiles by its weights."""
        tiles = self.tiles(size)
        spread_, products = (
            self.between(frame.scratch[name], count, size)
            for name, count in (("spread", self.inputs), ("products", self.outputs))
        )
        plane = Plane((1, tiles), (1, tiles), Window.of((1, 1), (), ()))
        channels, of_place = Channels(1, self.inputs, self.outputs), self.inputs * self.outputs
        pixels = choose_tile(self.target, tiles, self.outputs).pixels
        far = 4 * PLACES * of_place > SECOND_CACHE
        with loop("place", 0, PLACES) as place:
            weights = PackedWeights(
                frame.packed, Storage(), "float32", self.target.codegen, start=place * of_place, prefetched=far
            )
            product = TiledConv(spread_, channels, plane, pixels, weights, zeros, products.store, cut=spread)
            product.emit_sample(place, self.segments)

    def emit_results(self, frame: Frame, tail: Tail, n: Expr, first: Expr, size: int) -> None:
        """A^T m A of all tiles of a strip, the bias and the epilogue."""
        products = self.between(frame.scratch["products"], self.width, size)
        bias, store = frame.packed["bias"], finishing(frame, as_plane, tail)
        (height, width), (down, across) = self.plane.out, self.axes
        cut = [size < whole for size, whole in zip(self.plane.out, self.even.out, strict=True)]

        def tile(row: Expr, column: Expr, number: Expr, channels: Point) -> None:
            def product(y: int, x: int) -> Expr:
                place = y * len(across.input) + x
                return products.load(Point((place, channels.index[0], 0, number), 1, channels.lanes))

            for y, values in enumerate(both_ways(down.result, across.result, product)):
                for x, value in enumerate(values):
                    at = first + row * down.step + y, self.column(column, x)
                    inside = [at[0] < height] * (y and cut[0])
                    inside += [at[1] < width] * ((self.dilation > 1 or x > 0) and cut[1])
                    with when(tirx.all(*inside) if inside else True):
                        point = Point((n, channels.index[0], *at), 1, channels.lanes)
                        store(point, self.whole(value) + bias.load(channels))

        self.each_tile(size, self.outputs, self.target.lanes, tile)


def zeros(channel: Expr, lanes: int) -> Expr:
    return tirx.const(0.0, "float32" if lanes == 1 else f"float32x{lanes}")
