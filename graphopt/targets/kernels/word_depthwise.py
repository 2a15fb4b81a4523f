"""Depthwise convolution of 8 bits by words: vectors of channels, of which each lane takes some rows of taps at once.

For one block of channels after the other, strips of rows are copied into scratch, each element beside those of the rows
below it: where a word has two, (x of row r, x of row r + dilation), in a lane. Padding is the zero point, which is
folded into the bias. Where rows of the result go by one and the dilation is 1, not every row begins a word; rows of the
result between take their weights further down: (0, w0), (w1, w2) in words of two, (0, w0, w1, w2) in words of four.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task
from graphopt.targets.kernels.geometry import Plane, as_plane
from graphopt.targets.kernels.order import result_of
from graphopt.targets.kernels.quantized import folded_bias, zero_point_of
from graphopt.targets.kernels.word_weights import WHOLE, WholeWords, form_of
from graphopt.targets.kernels.words import Words
from graphopt.targets.schedule import LEAST_LANES, RegisterTile, Segment, balanced, even, powers_of_two, runs
from graphopt.targets.tir import Expr, Locals, Point, Tensor, cast, lanes_of, loop, when

STRIP_BYTES = 1 << 15
"""Of a strip of one block of channels, where it is more than the rows of one window: what stays in the first cache."""
MOST_VECTORS = 2
"""Of channels side by side: their sums are packed to bytes together."""
UNROLLED = 96
"""All taps are unrolled if they have at most this many products of vectors in a tile; else those of a row are."""


def depthwise_by_words(task: Task[Op], words: Words, plane: Plane, weight: Array, bias: Array) -> Kernel:
    """Depthwise convolution with multiplier one; weight is [c, 1, kh, kw]."""
    channels = len(weight)
    x, y = as_plane(task.strided(task.inputs[0])), as_plane(result_of(task))
    if channels < LEAST_LANES or x.strides[1] != 1 or y.strides[1] != 1:
        raise Decline("its channels do not stand side by side, four or more")
    zero_point = zero_point_of(task.op) + words.offset(x.dtype)
    folded = folded_bias(weight, bias, zero_point, words.range(x.dtype))
    lanes = min(task.target.lanes, 1 << (channels.bit_length() - 1))
    vectors = min(MOST_VECTORS, channels // lanes)
    pixels = even(plane.out[1], task.target.registers // 2 // vectors)
    form = form_of(task.inputs[1])
    kernel = DepthwiseWords(words, plane, channels, lanes, vectors, zero_point, pixels, form)
    packed = {"weight": kernel.packed(kernel.in_words(weight[:, 0]), form), "bias": kernel.packed(folded)}
    name = "depthwise_{}x{}".format(*plane.window.kernel)
    scratch = {"strip": kernel.scratch}
    return Kernel(name, kernel.emit, packed, task.inputs[1:], RegisterTile(pixels, vectors), scratch=scratch)


@dataclass(frozen=True)
class DepthwiseWords:
    """The loops: batch, block of channels, strip of rows, row, tile of pixels, taps."""

    words: Words
    plane: Plane
    channels: int
    lanes: int
    vectors: int
    zero_point: int
    pixels: int
    form: WholeWords

    @property
    def segments(self) -> list[Segment]:
        """Blocks of channels: of so many vectors, then of one, which may begin in the last vector before it."""
        full, left = divmod(self.channels, self.vectors * self.lanes)
        segments = [Segment(0, full, self.vectors, self.lanes)]
        if left >= self.lanes:
            segments.append(Segment(self.channels - left, 1, 1, self.lanes))
        if left % self.lanes:
            segments.append(Segment(self.channels - self.lanes, 1, 1, self.lanes))
        return segments

    def skipped(self, segment: Segment) -> int:
        """The lanes of a block that one before it has computed."""
        last = segment.start == self.channels - self.lanes
        return -self.channels % self.lanes if last and segment.vectors == 1 else 0

    @property
    def phases(self) -> int:
        """In how many ways the taps of a column lie over words of rows: more than 1 if windows begin within some."""
        window, size = self.plane.window, self.words.size
        if not window.strides[0] == window.dilations[0] == 1 or window.kernel[0] == 1:
            return 1
        free = -window.kernel[0] % size
        return free + 1 if free else size

    @property
    def column(self) -> int:
        """Words of taps in a column; weights of 0 fill them up."""
        return -(-(self.plane.window.kernel[0] + self.phases - 1) // self.words.size)

    @property
    def step(self) -> int:
        """Rows from a word of rows to the next in a strip."""
        return math.gcd(self.phases * self.plane.window.strides[0], self.word_step)

    @property
    def word_step(self) -> int:
        """Rows from a word of taps to the next."""
        window = self.plane.window
        return self.words.size * window.dilations[0] if self.column > 1 else self.phases * window.strides[0]

    def lines(self, rows: int) -> int:
        """Words of rows that so many rows of the result need."""
        last = (rows - 1) // self.phases * self.phases
        return (last * self.plane.window.strides[0] + (self.column - 1) * self.word_step) // self.step + 1

    @property
    def columns(self) -> int:
        """Of the input, that windows read, with their padding."""
        return (self.plane.out[1] - 1) * self.plane.window.strides[1] + self.plane.window.extent[1]

    @property
    def strip(self) -> int:
        """Rows of the result in a strip."""
        most = STRIP_BYTES // (4 * self.vectors * self.lanes * self.columns)
        fitting = [rows for rows in range(1, self.plane.out[0] + 1) if self.lines(rows) <= most]
        rows = balanced(self.plane.out[0], max(fitting, default=1))
        return min(self.plane.out[0], -(-rows // self.phases) * self.phases)

    @property
    def scratch(self) -> Scratch:
        size = self.lines(self.strip) * self.columns * self.words.size * self.vectors * self.lanes
        return Scratch(self.words.dtype, size)

    def in_words(self, weight: Array) -> Array:
        """Weights [c, kh, kw] as [c, phases * words * kw, elements of a word]."""
        free = self.words.size * self.column - weight.shape[1]
        full = np.stack([np.pad(weight, ((0, 0), (phase, free - phase), (0, 0))) for phase in range(self.phases)], 1)
        columns = full.reshape(len(weight), self.phases * self.column, self.words.size, -1)
        return columns.transpose(0, 1, 3, 2).reshape(len(weight), -1, self.words.size)

    def packed(self, data: Array, form: WholeWords = WHOLE) -> Array:
        """Data of channels [c, ...]: by vectors, with the channels of a vector behind the second axis."""
        rows = [data[s.start : s.start + s.blocks * s.width] for s in self.segments]
        vectors = np.concatenate(rows).reshape(-1, self.lanes, *data.shape[1:])
        return form.encode(np.moveaxis(vectors, 1, min(2, vectors.ndim - 1))).ravel()

    def emit(self, frame: Frame) -> None:
        x, strip = as_plane(frame.tensors[frame.task.inputs[0]]), frame.scratch["strip"]
        tile = DepthwiseTile(self, frame)
        index = 0
        with loop("n", 0, x.shape[0]) as n:
            for segment in self.segments:
                with loop("block", 0, segment.blocks) as block:
                    of = Block(segment, n, segment.start + block * segment.width, index + block * segment.vectors)
                    for first, count, rows in runs(self.plane.out[0], self.strip):
                        with loop("strip", 0, count) as i:
                            top = first + i * rows
                            self.write(strip, x, of, top, self.lines(rows))
                            for y, phase in self.each_row(rows):
                                for column, tiles, pixels in runs(self.plane.out[1], self.pixels):
                                    with loop("tile", 0, tiles) as t:
                                        tile.emit(of, (top, y, column + t * pixels), phase, pixels)
                index += segment.blocks * segment.vectors

    def each_row(self, rows: int) -> Iterator[tuple[Expr, int]]:
        """Each row of a strip, and its phase."""
        for start, count, size in runs(rows, self.phases):
            with loop("y", 0, count) as y:
                for phase in range(size):
                    yield start + y * size + phase, phase

    def write(self, strip: Tensor, x: Tensor, block: Block, top: Expr, lines: int) -> None:
        """The strip of some channels, for rows of the result from ``top`` on."""
        plane, words, window, width = self.plane, self.words, self.plane.window, block.segment.width
        before = min(self.columns, window.pads[1])
        inside = max(0, min(self.columns - before, plane.size[1] + window.pads[1] - before))
        with loop("line", 0, lines) as line:
            top_row = top * window.strides[0] - window.pads[0] + line * self.step
            rows = [top_row + i * window.dilations[0] for i in range(words.size)]
            padding = tirx.const(self.zero_point, f"{words.dtype}x{words.size * width}")
            for first, count in ((0, before), (before + inside, self.columns - before - inside)):
                with loop("column", first, first + count) as column:
                    self.store(strip, line, column, padding)

            def elements(column: Expr) -> list[Expr]:
                source = column + before - window.pads[1]
                clamped = [tirx.max(0, tirx.min(row, plane.size[0] - 1)) for row in rows]
                return [x.load(Point((block.n, block.channel, row, source), 1, width)) for row in clamped]

            padded = plane.interior(0) != (0, plane.out[0])
            whole = tirx.all(rows[0] >= 0, rows[-1] < plane.size[0]) if padded else True
            with when(whole), loop("column", 0, inside) as column:
                self.store(strip, line, column + before, words.stored(interleaved(elements(column), width)))
            if whole is not True:
                kept = [tirx.all(row >= 0, row < plane.size[0]) for row in rows]
                fill = tirx.const(self.zero_point - words.offset(x.dtype), f"{x.dtype}x{width}")
                with when(tirx.Not(whole)), loop("column", 0, inside) as column:
                    each = zip(kept, elements(column), strict=True)
                    found = [tirx.Select(tirx.Broadcast(test, width), row, fill) for test, row in each]
                    self.store(strip, line, column + before, words.stored(interleaved(found, width)))

    def address(self, line: Expr, column: Expr, width: int) -> Expr:
        return (line * self.columns + column) * (self.words.size * width)

    def store(self, strip: Tensor, line: Expr, column: Expr, words: Expr) -> None:
        lanes = lanes_of(words)
        strip.store(Point((self.address(line, column, lanes // self.words.size),), 0, lanes), words)


def interleaved(rows: list[Expr], lanes: int) -> Expr:
    """Elements of so many rows lane by lane."""
    return tirx.Shuffle(rows, [row * lanes + lane for lane in range(lanes) for row in range(len(rows))])


@dataclass(frozen=True)
class Block:
    """A block of channels of a sample: the first, and the first vector of what is packed."""

    segment: Segment
    n: Expr
    channel: Expr
    vector: Expr


class DepthwiseTile:
    """Sums of so many pixels by a block of channels."""

    def __init__(self, kernel: DepthwiseWords, frame: Frame) -> None:
        self.kernel, self.epilogue, self.out = kernel, frame.epilogue(as_plane), as_plane(frame.out)
        self.target = frame.task.target
        self.strip, self.weight, self.bias = frame.scratch["strip"], frame.packed["weight"], frame.packed["bias"]

    def emit(self, block: Block, at: tuple[Expr, Expr, Expr], phase: int, pixels: int) -> None:
        """Accumulate over all taps, apply the epilogue, store; ``at`` is the strip's first row, one in it, a column."""
        kernel, lanes, vectors = self.kernel, self.kernel.lanes, range(block.segment.vectors)
        strides, dilations = kernel.plane.window.strides, kernel.plane.window.dilations
        size = kernel.words.size
        acc = Locals("acc", pixels * len(vectors), "int32", lanes)
        for v in vectors:
            for p in range(pixels):
                acc[p * len(vectors) + v] = self.bias.load(Point(((block.vector + v) * lanes,), 0, lanes))
        for word, kx in self.each_tap(pixels * len(vectors)):
            line = ((at[1] - phase) * strides[0] + word * kernel.word_step) // kernel.step
            for v in vectors:
                weights = self.weights_at(block.vector + v, phase, word, kx)
                for p in range(pixels):
                    column = (at[2] + p) * strides[1] + kx * dilations[1]
                    place = kernel.address(line, column, block.segment.width) + v * size * lanes
                    words, i = self.strip.load(Point((place,), 0, size * lanes)), p * len(vectors) + v
                    acc[i] = kernel.words.add(self.target, lanes, acc[i], words, weights)
        for p in range(pixels):
            for v in vectors:
                self.store(block, (at[0] + at[1], at[2] + p), acc[p * len(vectors) + v], v * lanes)

    def weights_at(self, vector: Expr, phase: int, word: Expr, kx: int) -> Expr:
        """A vector of words of weights."""
        kernel, words = self.kernel, self.kernel.words
        index = ((vector * kernel.phases + phase) * kernel.column + word) * kernel.plane.window.kernel[1] + kx
        (weights,) = kernel.form.load(self.weight, index * kernel.lanes, 1, kernel.lanes, words.size)
        return cast(weights, words.weights)

    def store(self, block: Block, at: tuple[Expr, Expr], acc: Expr, first: int) -> None:
        """One vector of sums: the lanes that no other block computes."""
        lanes, skipped = block.segment.lanes, self.kernel.skipped(block.segment)
        for start, count in powers_of_two(lanes - skipped):
            lane = skipped + start
            part = acc if count == lanes else tirx.Shuffle([acc], list(range(lane, lane + count)))
            point = Point((block.n, block.channel + first + lane, *at), 1, count)
            self.out.store(point, self.epilogue(part, point))

    def each_tap(self, pixels: int) -> Iterator[tuple[Expr, int]]:
        """The word of rows and the column of each tap."""
        words, columns = self.kernel.column, self.kernel.plane.window.kernel[1]
        if words * columns * pixels <= UNROLLED:
            yield from ((word, kx) for word in range(words) for kx in range(columns))
            return
        with loop("word", 0, words) as word:
            for kx in range(columns):
                yield word, kx
