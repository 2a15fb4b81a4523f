"""Convolution and matrix product of 8 bits by words: elements side by side, 32 bits, which one instruction multiplies.

Elements stand in strips in scratch, with their padding. A word of them is broadcast to all lanes, of which each has as
many weights of a channel: two of 16 bits, or four of 8. A tile is some pixels by vectors of channels. Where weights are
widened on their way from memory, those of a block of channels are all at once, if many tiles use them and they do not
fill the first cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op
from graphopt.ops import ConvInteger, LinearInteger, Window
from graphopt.rewrite import Decline
from graphopt.targets.instructions.vectors import word_in_lanes
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, View
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows
from graphopt.targets.kernels.interleaved import at_once, finish
from graphopt.targets.kernels.quantized import folded_bias, zero_point_of
from graphopt.targets.kernels.strips import PaddedStrips
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.tiled import Placing, as_it_is
from graphopt.targets.kernels.word_depthwise import depthwise_by_words
from graphopt.targets.kernels.word_weights import WHOLE, WholeWords, form_of
from graphopt.targets.kernels.words import Words, in_blocks, plane_of_task, weights_of
from graphopt.targets.schedule import Segment, choose_tile, padded_segments, powers_of_two, runs
from graphopt.targets.tir import Expr, Locals, Point, cast, loop

POINTWISE = Window.of((1, 1), (), ())
STRIP_BYTES = 1 << 15
"""Of a strip: what stays in the first cache, or at worst in the second."""
UNPACKED_STRIP_BYTES = 1 << 17
"""The same where weights have four bits: each strip unpacks all of them anew, and reads from the second cache."""
WIDENED_BYTES = 3 << 13
"""The most that the widened weights of a block take."""
UNPACKED_BYTES = 1 << 17
"""The same of weights of four bits where sums are short: more time passes in unpacking them again than in reading."""
LEAST_TILES = 4
"""Of a strip, for weights to be widened all at once."""
UNROLLED = 48
"""A row of taps is unrolled if it has at most this many products of vectors."""


def conv_by_words(task: Task[ConvInteger], words: Words) -> Kernel:
    """Convolution over one or two axes."""
    plane, (weight, bias) = plane_of_task(task), weights_of(task)
    weight, batch = weight.reshape(*weight.shape[:2], *plane.window.kernel), task.inputs[0].type.static_shape[0]
    if task.op.group == task.inputs[0].type.static_shape[1] == len(weight) and task.region.tail is None:
        return depthwise_by_words(task, words, plane, weight, bias)
    if task.op.group > 1 and weight.shape[1] == 1:
        raise Decline("each group has one channel, and no words")
    in_a_row = as_row(task.strided(task.inputs[0])) is not None and task.allows(as_row) and task.region.tail is None
    if plane.window == POINTWISE and in_a_row:
        row = row_of(plane.out[0] * plane.out[1])
        return products_kernel(task, words, "conv_1x1", batch, row, weight, bias, as_row)
    name = "conv_{}x{}".format(*plane.window.kernel)
    return products_kernel(task, words, name, batch, plane, weight, bias, as_plane)


def linear_by_words(task: Task[LinearInteger], words: Words) -> Kernel:
    """A matrix product is a pointwise convolution over a row."""
    weight, bias = weights_of(task)
    rows = as_rows(task.strided(task.inputs[0]))
    if rows is None or not task.allows(as_rows):
        raise Decline("its rows are not in one line of memory")
    return products_kernel(task, words, "linear", 1, row_of(rows.shape[3]), weight[:, :, None, None], bias, as_rows)


def row_of(pixels: int) -> Plane:
    return Plane((1, pixels), (1, pixels), POINTWISE)


def products_kernel(
    task: Task[Op], words: Words, name: str, batch: int, plane: Plane, weight: Array, bias: Array, view: View
) -> Kernel:
    """The kernel of a convolution over a plane; ``view`` views its tensors as [n, c, h, w]."""
    group, target, dtype = int(getattr(task.op, "group", 1)), task.target, task.inputs[0].type.dtype
    form = form_of(task.inputs[1])
    words = words if form is WHOLE else words.of_four_bits or words
    outputs, offset = len(weight) // group, words.offset(dtype)
    zero_point = zero_point_of(task.op) + offset
    tile, lanes = choose_tile(target, plane.out[1], outputs), words.size * target.lanes
    room = STRIP_BYTES if form is WHOLE else UNPACKED_STRIP_BYTES
    strips = PaddedStrips(
        plane, group * weight.shape[1], zero_point, words.dtype, lanes, tile.pixels, room, offset=offset
    )
    bias = folded_bias(weight, bias, zero_point, words.range(dtype))
    segments = padded_segments(outputs, target.lanes, tile.vectors)
    kernel = WordProducts(words, strips, group, outputs, segments, view, tile.pixels, form, "")
    packed = {"weight": kernel.packed(kernel.in_words(weight), form), "bias": kernel.packed(bias)}

    def emit(frame: Frame) -> None:
        tail = Tail(frame, view)
        tail.prefill()
        kernel.emit(frame, tail, batch)

    return Kernel(
        name,
        emit,
        packed,
        replaced=task.inputs[1:],
        tile=tile,
        scratch=kernel.scratch,
    )


@dataclass(frozen=True)
class WordProducts:
    """The loops: batch, strip, group, block of channels, row, tile of pixels, taps."""

    words: Words
    strips: PaddedStrips
    group: int
    outputs: int
    segments: list[Segment]
    view: View
    pixels: int
    form: WholeWords
    part: str
    """Behind the names of its constants, where it is one of several in a kernel."""

    @property
    def plane(self) -> Plane:
        return self.strips.plane

    @property
    def depth(self) -> int:
        """Input channels of a group."""
        return self.strips.channels // self.group

    @property
    def merged(self) -> bool:
        """Whether the taps of a row stand side by side."""
        return self.group == 1 and self.plane.window.dilations[1] == 1

    @property
    def taps(self) -> int:
        """Runs of elements side by side in a row of taps."""
        return 1 if self.merged else self.plane.window.kernel[1]

    @property
    def run(self) -> int:
        """Words in such a run; weights of 0 fill the last one up."""
        return -(-self.depth * self.plane.window.kernel[1] // self.taps // self.words.size)

    @property
    def all_words(self) -> int:
        """Words of all taps of a window."""
        return self.plane.window.kernel[0] * self.taps * self.run

    @property
    def widened(self) -> int:
        """How many weights are widened at once: those of a block; none where it does not pay."""
        rows, columns = self.strips.rows_and_columns(self.strips.size)
        weights = self.words.size * self.all_words * max(segment.width for segment in self.segments)
        room = UNPACKED_BYTES if self.words.short else WIDENED_BYTES
        pays = rows * -(-columns // self.pixels) >= LEAST_TILES and self.nbytes(weights) <= room
        return weights if pays and (self.words.widened or self.form is not WHOLE) else 0

    def nbytes(self, weights: int) -> int:
        """Of so many weights in products."""
        return weights * np.dtype(self.words.weights).itemsize

    @property
    def scratch(self) -> dict[str, Scratch]:
        weights = {"weights": Scratch(self.words.weights, self.widened)} if self.widened else {}
        return {"strip": self.strips.scratch, **weights}

    def in_words(self, weight: Array) -> Array:
        """Weights [o, i, kh, kw] as [o, rows * runs * words, elements of a word]."""
        runs_ = weight.transpose(0, 2, 3, 1).reshape(len(weight), weight.shape[2], self.taps, -1)
        full = np.pad(runs_, ((0, 0), (0, 0), (0, 0), (0, self.words.size * self.run - runs_.shape[3])))
        return full.reshape(len(weight), -1, self.words.size)

    def packed(self, data: Array, form: WholeWords = WHOLE) -> Array:
        """Data of channels [o, ...]: by group and block, with the channels of the block behind the second axis."""
        groups = data.reshape(self.group, self.outputs, *data.shape[1:])
        return np.concatenate([in_blocks(group, self.segments, form) for group in groups])

    def emit(self, frame: Frame, tail: Tail, batch: int) -> None:
        x = self.view(frame.tensors[frame.task.inputs[0]])
        assert x is not None
        tile = Tile(self, frame, tail)
        axis = self.strips.axis
        with loop("n", 0, batch) as n:
            for start, count, size in runs(self.plane.out[axis], self.strips.size):
                with loop("strip", 0, count) as i:
                    first = start + i * size
                    self.strips.write(frame.scratch["strip"], x, n, first, size)
                    self.emit_strip(tile, n, (first, 0) if axis == 0 else (0, first), size)

    def emit_strip(self, tile: Tile, n: Expr, origin: tuple[Expr, Expr], size: int) -> None:
        with loop("group", 0, self.group) as group:
            first = Block(self.segments[0], n, group * self.depth, group * self.outputs, group * self.padded)
            self.emit_blocks(tile, first, origin, size)

    @property
    def padded(self) -> int:
        """Channels of the result, of a group, with those that fill up the last block."""
        return sum(segment.blocks * segment.width for segment in self.segments)

    def emit_blocks(self, tile: Tile, first: Block, origin: tuple[Expr, Expr], size: int) -> None:
        """All blocks of channels that stand side by side, from one on, of a strip."""
        rows, columns = self.strips.rows_and_columns(size)
        for segment in self.segments:
            with loop("block", 0, segment.blocks) as index:
                channel = segment.start + index * segment.width
                output, packed = first.output + channel, first.packed + channel
                block = replace(first, segment=segment, output=output, packed=packed)
                tile.widen(block)
                with loop("y", 0, rows) as y:
                    for start, count, pixels in runs(columns, self.pixels):
                        with loop("tile", 0, count) as t:
                            tile.emit(block, origin, (y, start + t * pixels), pixels)


@dataclass(frozen=True)
class Block:
    """A block of channels: its first channel of the input, of the result, and of what is packed.

    ``place`` gives where the result has a place of the plane.
    """

    segment: Segment
    n: Expr
    input: Expr
    output: Expr
    packed: Expr
    place: Placing = as_it_is


def each(count: int, unrolled: bool) -> Iterator[Expr]:
    """Positions below a count, by a loop or one by one."""
    if unrolled:
        yield from range(count)
        return
    with loop("word", 0, count) as word:
        yield word


class Tile:
    """Sums of so many pixels by a block of channels."""

    def __init__(self, kernel: WordProducts, frame: Frame, tail: Tail) -> None:
        self.kernel, self.tail, self.epilogue = kernel, tail, frame.epilogue(kernel.view)
        self.target, self.at_once = frame.task.target, at_once(frame.task)
        self.weight, self.bias = (frame.packed[name + kernel.part] for name in ("weight", "bias"))
        self.strip, self.widened = frame.scratch["strip"], frame.scratch["weights"] if kernel.widened else None

    def widen(self, block: Block) -> None:
        """The weights of a block, where they are widened at once."""
        if self.widened is not None:
            vectors, lanes = block.segment.vectors, self.kernel.words.size * block.segment.lanes
            with loop("i", 0, self.kernel.all_words) as i:
                for v, weights in enumerate(self.loaded(block, i)):
                    self.widened.store(Point(((i * vectors + v) * lanes,), 0, lanes), weights)

    def loaded(self, block: Block, index: Expr) -> list[Expr]:
        """The vectors of weights of a word, from memory."""
        words, segment = self.kernel.words, block.segment
        first = block.packed * self.kernel.all_words + index * segment.width
        vectors = self.kernel.form.load(self.weight, first, segment.vectors, segment.lanes, words.size)
        return [cast(weights, words.weights) for weights in vectors]

    def emit(self, block: Block, origin: tuple[Expr, Expr], at: tuple[Expr, Expr], pixels: int) -> None:
        """Accumulate over all taps, apply the epilogue, store; ``at`` counts within the strip, from ``origin`` on."""
        segment = block.segment
        lanes, vectors = segment.lanes, segment.vectors
        acc = Locals("acc", pixels * vectors, "int32", lanes)
        for v in range(vectors):
            start = self.bias.load(Point((block.packed + v * lanes,), 0, lanes))
            for p in range(pixels):
                acc[p * vectors + v] = start
        short = self.kernel.words.short
        for taps, first, size in self.each_piece(short.words if short else self.kernel.run):
            sums = acc
            if short is not None:
                sums = Locals("short", pixels * vectors, "int16", 2 * lanes)
                for i in range(pixels * vectors):
                    sums[i] = sums.constant(0)
            for word in each(size, size * pixels * vectors <= UNROLLED):
                self.add(block, at, taps, first + word, pixels, sums)
            if short is not None:
                for i in range(pixels * vectors):
                    acc[i] = short.widen(self.target, lanes, acc[i], sums[i])
        places = [(origin[0] + at[0], origin[1] + at[1] + p) for p in range(pixels)]
        totals = [(p, v * lanes, acc[p * vectors + v]) for p in range(pixels) for v in range(vectors)]
        found = [one for p, first, total in totals for one in self.channels(block, places[p], total, first)]
        finish(found, self.at_once, self.epilogue, self.tail.store)

    def each_piece(self, most: int) -> Iterator[tuple[tuple[Expr, Expr], Expr, int]]:
        """The taps (row, column) of each run of elements, in pieces: the first word, and how many."""
        kernel = self.kernel
        with loop("ky", 0, kernel.plane.window.kernel[0]) as ky, loop("kx", 0, kernel.taps) as kx:
            for start, count, size in runs(kernel.run, most):
                with loop("piece", 0, count) as i:
                    yield (ky, kx), start + i * size, size

    def add(
        self, block: Block, at: tuple[Expr, Expr], taps: tuple[Expr, Expr], word: Expr, pixels: int, sums: Locals
    ) -> None:
        """Add the products of one word of all pixels."""
        kernel, words, lanes = self.kernel, self.kernel.words, block.segment.lanes
        weights = self.weights_at(block, (taps[0] * kernel.taps + taps[1]) * kernel.run + word)
        for p in range(pixels):
            place = kernel.strips.address(at[0], at[1] + p, taps) + block.input + words.size * word
            everywhere = word_in_lanes(self.strip.load(Point((place,), 0, words.size)), lanes)
            for v, weight in enumerate(weights):
                i = p * len(weights) + v
                sums[i] = words.add(self.target, lanes, sums[i], everywhere, weight)

    def weights_at(self, block: Block, index: Expr) -> list[Expr]:
        """The vectors of a word of weights."""
        if self.widened is None:
            return self.loaded(block, index)
        lanes, vectors = self.kernel.words.size * block.segment.lanes, block.segment.vectors
        return [self.widened.load(Point(((index * vectors + v) * lanes,), 0, lanes)) for v in range(vectors)]

    def channels(self, block: Block, at: tuple[Expr, Expr], acc: Expr, first: int) -> Iterator[tuple[Expr, Point]]:
        """Of one vector of sums those lanes that are channels, in vectors of powers of two, and their points."""
        segment = block.segment
        count = segment.lanes
        if segment.start + segment.blocks * segment.width > self.kernel.outputs:
            count = min(count, self.kernel.outputs - segment.start - first)
        for start, lanes in powers_of_two(count):
            part = acc if lanes == segment.lanes else tirx.Shuffle([acc], list(range(start, start + lanes)))
            yield part, Point((block.n, block.output + first + start, *block.place(at)), 1, lanes)
