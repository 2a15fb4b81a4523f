"""Winograd's convolution F(2x2, 3x3) of 8 bits, exact: transforms in 16 bits, products by words, sums in 32 bits.

With 2 G in place of G transformed weights are integers, and results four times those of the direct form: their lowest
two bits are 0, and a shift takes these off. Windows of three taps along one axis go by F(2, 3) along it.

A transformed element sums four elements, of magnitudes of at most 1,020 together, a transformed weight nine weights, of
at most 1,152: both fit 16 bits. That sums fit 32 is proved of the weights of each layer. Zero points are folded into
the bias, as in the direct form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import ConvInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.vectors import word_in_lanes
from graphopt.targets.kernels.ahead import SECOND_CACHE, Ahead
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.geometry import as_plane
from graphopt.targets.kernels.quantized import folded_bias
from graphopt.targets.kernels.strip_conv import copy_cost, tiles_cost
from graphopt.targets.kernels.strips import PaddedStrips
from graphopt.targets.kernels.winograd import OF_THREE_TAPS, Axis, Winograd, from_far, pitch
from graphopt.targets.kernels.words import Words, in_blocks, plane_of_task, weights_of
from graphopt.targets.kernels.x86_products import PAIRS
from graphopt.targets.schedule import (
    RegisterTile,
    Segment,
    channel_segments,
    choose_tile,
    padded_segments,
    runs,
    spread,
)
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop
from graphopt.targets.weights import expect_whole

WINDOWS = ((3, 3), (1, 3), (3, 1))
TRANSFORM = 2
"""What a place of a tile costs to transform, of one vector of channels, in multiply-adds of vectors."""
MOST_SCRATCH = 1 << 22
"""The bytes of what is between the transforms of a row of tiles; more of them come from far."""
LEAST_GAIN = 0.1
"""For which weights may grow."""


@kernel_rule(ConvInteger, isa="sse4.2", strided=True)
@kernel_rule(ConvInteger, isa="avx2", strided=True)
def conv_by_word_winograd(task: Task[ConvInteger]) -> Kernel:
    """Convolution of three taps along axes, at strides of 1, where it is expected to be faster than the direct form."""
    x, w, b = task.inputs
    weight, bias = weights_of(task)
    expect_whole(w)
    plane = plane_of_task(task)
    window = plane.window
    if window.kernel not in WINDOWS or {*window.strides} != {1} or task.op.group > 1:
        raise Decline("it takes windows of three taps along axes, at strides of 1, in one group")
    if window.dilations[0] > 1 and window.kernel[0] > 1:
        raise Decline("its rows are dilated")
    n, c = x.type.static_shape[:2]
    kernel = WordWinograd(plane, c, len(weight), task.target, PAIRS, task.op.zero_point)
    places = transformed_weights(weight.reshape(*weight.shape[:2], *window.kernel), kernel.axes)
    if (sums := largest_sums(places, x.type.dtype, kernel.axes)).max() >= 1 << 31:
        raise Decline(f"sums of channel {sums.argmax()} may need more than 32 bits")
    between = sum(one.nbytes for one in kernel.scratch.values())
    if between > MOST_SCRATCH:
        raise Decline(f"a strip of tiles would take {between:,} bytes, more than {MOST_SCRATCH:,}")
    saved = kernel.saved(as_plane(task.strided(x)).strides[1] == 1)
    if saved < LEAST_GAIN:
        raise Decline(f"it would save {max(0.0, saved):.0%}, less than {LEAST_GAIN:.0%}")
    folded = folded_bias(weight, bias, task.op.zero_point, x.type.dtype)
    packed = {"weight": kernel.packed(places), "bias": folded}
    note = f"weights grow from {weight.nbytes:,} to {packed['weight'].nbytes:,} bytes"
    return Kernel(
        "winograd_{}x{}".format(*window.kernel),
        lambda frame: kernel.emit(frame, n),
        packed,
        (w, b),
        kernel.tile,
        scratch=kernel.scratch,
        notes=(note,),
    )


def extra_bits(axis: Axis) -> int:
    """Of results along an axis: where its weights are halves, they are taken twice."""
    return int(axis is OF_THREE_TAPS)


def transformed_weights(weight: Array, axes: tuple[Axis, Axis]) -> Array:
    """Weights [o, i, kh, kw] as 2 G w (2 G)^T, int64 [place, o, i]."""
    down, across = (np.asarray(np.array(axis.weight) * 2 ** extra_bits(axis), np.int64) for axis in axes)
    places = np.einsum("ai,ocij,bj->aboc", down, weight.astype(np.int64), across)
    return np.asarray(places.reshape(-1, *weight.shape[:2]))


def largest_sums(places: Array, dtype: str, axes: tuple[Axis, Axis]) -> Array:
    """By channel [o] no sum is larger, of products of transformed weights [place, o, i] or of results of these."""
    down, across = axes
    limits, signs = np.iinfo(dtype), np.kron(down.input, across.input)
    ends = np.stack([signs * limits.min, signs * limits.max])
    largest = np.maximum(ends.max(axis=0).sum(axis=1), -ends.min(axis=0).sum(axis=1))
    sums = largest[:, None] * np.abs(places).sum(axis=2)
    return np.asarray((np.abs(np.kron(down.result, across.result)) @ sums).max(axis=0))


@dataclass(frozen=True)
class WordWinograd(Winograd):
    """The loops of the float form, with words of transformed elements, and channels in whole vectors."""

    words: Words
    zero_point: int

    @cached_property
    def strips(self) -> PaddedStrips:
        between = 2 * self.depth + 4 * self.width
        return self.strips_of(self.words.dtype, self.zero_point, self.words.size * self.target.lanes, between)

    @property
    def depth(self) -> int:
        """Channels in whole words; of what fills the last one up the weights are 0."""
        return self.words.size * self.steps

    @property
    def steps(self) -> int:
        """Words of all channels."""
        return -(-self.inputs // self.words.size)

    @property
    def width(self) -> int:
        return sum(segment.blocks * segment.width for segment in self.segments)

    def whole(self, result: Expr) -> Expr:
        return tirx.shift_right(result, tirx.const(sum(map(extra_bits, self.axes)), str(result.ty)))

    @property
    def tile(self) -> RegisterTile:
        return choose_tile(self.target, self.tiles(self.strips.size), self.outputs)

    @cached_property
    def segments(self) -> list[Segment]:
        vectors = choose_tile(self.target, self.target.registers, self.outputs).vectors
        return padded_segments(self.outputs, self.target.lanes, vectors)

    @property
    def scratch(self) -> dict[str, Scratch]:
        tiles = self.tiles(self.strips.size)
        spread_, products = (
            Scratch(kind, self.places * pitch(tiles, channels, kind))
            for kind, channels in (("int16", self.depth), ("int32", self.width))
        )
        return {"strip": self.strips.scratch, "spread": spread_, "products": products}

    def packed(self, weight: Array) -> Array:
        """Transformed weights [place, o, i], of each place in words by blocks of channels."""
        full = np.pad(weight, ((0, 0), (0, 0), (0, self.depth - self.inputs))).astype(self.words.weights)
        words = full.reshape(*full.shape[:2], self.steps, self.words.size)
        return np.concatenate([in_blocks(place, self.segments) for place in words])

    def saved(self, side_by_side: bool) -> float:
        """Which share of the direct form's time it is expected to save; both copy the input in strips."""
        vectors = sum(segment.blocks * segment.vectors for segment in self.segments)
        height, width = self.plane.out
        across = choose_tile(self.target, width, self.outputs)
        blocks = -(-vectors // across.vectors)
        rows, columns = self.plane.window.kernel
        runs_ = columns if self.dilation > 1 else 1
        direct = rows * runs_ * -(-columns // runs_ * self.inputs // self.words.size) * blocks
        direct *= height * tiles_cost(runs(width, across.pixels), across.vectors)
        copy, strips = copy_cost(self.strips, side_by_side), runs(self.even.out[0], self.strips.size)
        cost = copy + from_far(self.weight_bytes, sum(count for _, count, _ in strips))
        inputs = sum(segment.blocks for segment in channel_segments(self.inputs, self.strips.lanes, 1))
        for _, count, size in strips:
            tiles = self.tiles(size)
            products = self.steps * blocks * tiles_cost(spread(tiles, self.tile.pixels), self.tile.vectors)
            cost += count * self.places * (products + TRANSFORM * tiles * (inputs + vectors))
        return 1 - cost / (copy + direct + from_far(rows * columns * self.inputs * self.outputs, 1))

    def emit_products(self, frame: Frame, size: int) -> None:
        """Of each place the tiles by its weights."""
        spread_, products = (
            self.between(frame.scratch[name], count, size)
            for name, count in (("spread", self.depth), ("products", self.width))
        )
        weight = frame.packed["weight"]
        with loop("place", 0, self.places) as place:
            for segment in self.segments:
                with loop("block", 0, segment.blocks) as block:
                    channel = segment.start + block * segment.width
                    start = self.depth * (place * self.width + channel)
                    ahead = self.ahead(weight, start, segment, self.tiles(size))
                    for first, count, pixels in spread(self.tiles(size), self.tile.pixels):
                        with loop("tile", 0, count) as t:
                            at = place, channel, 0, first + t * pixels
                            self.emit_tile(spread_, weight, products, segment, start, at, pixels, ahead)

    @property
    def weight_bytes(self) -> int:
        return np.dtype(self.words.weights).itemsize * self.places * self.inputs * self.outputs

    def ahead(self, weight: Tensor, start: Expr, segment: Segment, tiles: int) -> Ahead:
        """What is prefetched while all tiles go by a block of channels, whose weights begin at ``start``."""
        size, begin = self.words.size, start + self.depth * segment.width
        following = (lambda word: weight.at(begin + word * size)) if self.weight_bytes > SECOND_CACHE else None
        return Ahead(segment.width, segment.lanes, max(1, tiles // self.tile.pixels), following)

    def emit_tile(
        self,
        x: Tensor,
        weight: Tensor,
        products: Tensor,
        segment: Segment,
        start: Expr,
        at: tuple[Expr, ...],
        pixels: int,
        ahead: Ahead,
    ) -> None:
        """Sums of so many tiles by a block of channels, from ``at`` on; its weights begin at ``start``."""
        lanes, vectors, size = segment.lanes, segment.vectors, self.words.size
        acc = Locals("acc", pixels * vectors, "int32", lanes)
        for i in range(pixels * vectors):
            acc[i] = acc.constant(0)
        place, channel, row, first = at

        def add(word: Expr) -> None:
            begin = start + word * (segment.width * size)
            weights = [weight.load(Point((begin + v * lanes * size,), 0, lanes * size)) for v in range(vectors)]
            for p in range(pixels):
                pair = x.load(Point((place, word * size, row, first + p), 1, size))
                everywhere = word_in_lanes(pair, lanes)
                for v in range(vectors):
                    i = p * vectors + v
                    acc[i] = self.words.add(self.target, lanes, acc[i], everywhere, weights[v])

        ahead.each_row(tirx.floordiv(first, self.tile.pixels), self.steps, add)
        for p in range(pixels):
            for v in range(vectors):
                products.store(Point((place, channel + v * lanes, row, first + p), 1, lanes), acc[p * vectors + v])
