"""Depthwise convolution of 8 bits by pairs of products: rows of one channel, widened into scratch, two taps at a time.

Pairs of elements stand at even places of a row. A window that begins at an odd place takes its weights one further on:
(0, w0), (w1, w2). Padding is the zero point, and is in the rows. The plane of a channel goes by strips of rows, as many
as scratch holds; the last rows of a strip are the first of the next, and each element is read once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Value
from graphopt.ops import ConvInteger, Window
from graphopt.rewrite import Decline
from graphopt.targets.instructions import dsp_depthwise
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.dsp_depthwise import Tile
from graphopt.targets.instructions.portable import (
    ADD_PRODUCTS,
    FILL_ROWS,
    MOVE_ROWS,
    PAIR_AT,
    WIDEN_ROWS,
    WIDEN_TWO,
)
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, View, fitting
from graphopt.targets.kernels.geometry import Plane, as_plane, plane_window
from graphopt.targets.kernels.order import strip_reads
from graphopt.targets.kernels.quantized import zero_point_of
from graphopt.targets.kernels.scaling import limited, parameters_of, scaling_of
from graphopt.targets.schedule import RegisterTile, balanced, runs
from graphopt.targets.tir import Expr, Locals, Point, Tensor, cast, loop, when
from graphopt.targets.weights import expect_whole

PIXELS = 4
"""Of a tile, where there is a choice."""

STRIP_BYTES = {1: 1024, 2: 1536}
"""Of the rows of a strip of so many channels, where they are more than one window."""
RESTART = 65
"""About the instructions of a channel in one more strip."""
COPIED_ALONE = 2.8
"""About those of an element that is copied alone, more than half of those of two at once."""
SCALING = 3
"""Numbers by which a sum is scaled."""
MOST_STRIDE = 2
"""Of windows side by side that routines know."""


Channel = tuple[Expr, Expr, Expr]
"""A sample, a channel of it, and its place in the group."""


def depthwise_by_pairs(task: Task[ConvInteger], plane: Plane, weight: Array, bias: Array) -> Kernel:
    """Depthwise convolution with multiplier one; weight is [c, 1, kh, kw]."""
    x, w, b = task.inputs
    expect_whole(w)
    if x.type.dtype not in ("int8", "uint8"):
        raise Decline("it takes elements of 8 bits")
    view = as_plane
    if plane.window.kernel[1] == 1:
        plane, weight, view = swapped(plane), weight.transpose(0, 1, 3, 2), as_swapped
    if plane.window.dilations[1] != 1:
        raise Decline("its taps do not stand side by side")
    zero_point = zero_point_of(task.op)
    folded = bias - zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    scaling = scaling_of(task, len(weight))
    if x.type.dtype != "int8" or plane.window.strides[1] > MOST_STRIDE or plane.window.dilations[0] != 1:
        scaling = None
    groups = (2, 1) if by_twos(view(task.strided(x))) else (1,)
    wholes = [
        DepthwisePairs(plane, view, zero_point, scaling is not None, channels=len(weight), group=group)
        for group in groups
    ]
    kernel, forms = fitting(task, in_strips(wholes))
    packed = {"weight": np.ascontiguousarray(weight[:, 0]), "bias": folded.astype(np.int32)}
    absorbed: tuple[Value, ...] = ()
    if scaling is not None:
        packed["scaling"], absorbed = scaling.astype(np.int32), parameters_of(task)
    name = "depthwise_{}x{}".format(*plane_window(task.op.window(w.type)).kernel)
    reads = strip_reads(task, view, plane, kernel.strip, kernel.overlap) if x in task.covered else {}
    tile = RegisterTile(kernel.pixels, 1)
    made = Kernel(name, kernel.emit, packed, (w, b), tile, reads, kernel.scratch, absorbed, forms=forms)
    return limited(made, task) if kernel.scales else made


def by_twos(x: Tensor) -> bool:
    """Whether two channels at a time are copied: neighbours in all pixels of a plane."""
    return x.dtype == "int8" and x.shape[1] % 2 == 0 and x.strides[1] == 1


def swapped(plane: Plane) -> Plane:
    """A plane with its axes exchanged."""
    window = plane.window
    pads = window.pads[1], window.pads[0], window.pads[3], window.pads[2]
    turned = Window(window.kernel[::-1], window.strides[::-1], pads, window.dilations[::-1])
    return Plane(plane.size[::-1], plane.out[::-1], turned)


def as_swapped(tensor: Tensor) -> Tensor:
    """A tensor [n, c, h, w] as [n, c, w, h]."""
    plain = as_plane(tensor)
    n, c, h, w = plain.strides
    return replace(plain, shape=(*plain.shape[:2], *plain.shape[:1:-1]), strides=(n, c, w, h))


@dataclass(frozen=True)
class DepthwiseStrips(ABC):
    """The loops of a depthwise convolution: channels, strips of rows in scratch, tiles of pixels by a routine.

    In scratch padding is ``zero_point``. The rows of all ``depth`` channels of a window take turns there. So many
    channels as a ``group`` has are copied there at once, one plane behind the other.
    """

    plane: Plane
    view: View
    zero_point: int
    channels: int = field(kw_only=True)
    """Of the result."""
    depth: int = field(default=1, kw_only=True)
    group: int = field(default=1, kw_only=True)
    parts: int | None = field(default=None, kw_only=True)
    """Strips of a plane; as many as it needs if that is None."""

    @property
    def tiles(self) -> list[tuple[int, int, int]]:
        """How a row is cut, (first, count, pixels): each begins at an even element."""
        width = self.plane.out[1]
        full, left = divmod(width, PIXELS)
        if width <= dsp_depthwise.MOST_PIXELS:
            return [(0, 1, width)]
        if left == 1:  # with the pixels of a full one
            full, left = full - 1, PIXELS + 1
        return [(0, full, PIXELS)] * bool(full) + [(full * PIXELS, 1, left)] * bool(left)

    @property
    def pixels(self) -> int:
        return self.tiles[0][2]

    @property
    @abstractmethod
    def row(self) -> int:
        """Elements of a row with its padding, and what a routine reads beyond it."""

    @property
    def line(self) -> int:
        """Elements of the rows of all channels of a window."""
        return self.depth * self.row

    @property
    @abstractmethod
    def words(self) -> int:
        """Of what a routine needs of a channel."""

    @property
    @abstractmethod
    def copied(self) -> Instruction:
        """The routine that copies rows into scratch."""

    @property
    def dtype(self) -> str:
        """Of elements in scratch."""
        return next(iter(self.copied.operands.values())).removesuffix("*")

    @abstractmethod
    def routine(self, pixels: int) -> Instruction:
        """The routine of a tile."""

    @abstractmethod
    def gather_taps(self, frame: Frame, c: Expr, place: Expr) -> None:
        """What a routine needs of a channel, from a place on: its bias, its weights and its scaling."""

    @property
    def overlap(self) -> int:
        """The rows that two strips share."""
        return max(0, self.plane.window.extent[0] - self.plane.window.strides[0])

    @property
    def strip(self) -> int:
        """Rows of the result in a strip."""
        if self.parts is not None:
            return -(-self.plane.out[0] // self.parts)
        rows = STRIP_BYTES[self.group] // (np.dtype(self.dtype).itemsize * self.group * self.line) - self.overlap
        most = max(1, rows // self.plane.window.strides[0])
        return balanced(self.plane.out[0], min(most, self.plane.out[0]))

    @property
    def strips(self) -> int:
        return -(-self.plane.out[0] // self.strip)

    @property
    def effort(self) -> float:
        """About the instructions that strips, and their copies, take."""
        copied = COPIED_ALONE * self.plane.size[0] * self.plane.size[1] / self.group
        return self.channels * (RESTART * self.strips + copied)

    def kept(self, first: Expr) -> Expr:
        """The rows that a strip, from this row of the result on, has of the one before."""
        return 0 if self.strip == self.plane.out[0] else tirx.Select(first > 0, self.overlap, 0)

    def rows_for(self, strip: int) -> int:
        """Rows of the input that so many rows of the result need."""
        return (strip - 1) * self.plane.window.strides[0] + self.plane.window.extent[0]

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {"taps": Scratch("int32", self.group * self.words), **self.scratch_of_rows}

    @property
    def scratch_of_rows(self) -> dict[str, Scratch]:
        return {"rows": Scratch(self.dtype, self.group * self.rows_of_channel)}

    @property
    def rows_of_channel(self) -> int:
        """Elements of the rows that windows of one strip take."""
        return self.rows_for(self.strip) * self.line

    def padded_rows(self, frame: Frame) -> PaddedRows:
        """The rows in scratch, with their padding."""
        planes = tuple(slot * self.rows_of_channel for slot in range(self.group))
        rows = PaddedRows(self.plane, self.row, self.zero_point, self.copied, frame.scratch["rows"], planes)
        rows.fill_columns(self.group * self.rows_for(self.strip) * self.depth)
        return rows

    def taps(self, frame: Frame, at: Channel) -> Expr:
        """A pointer to what a routine needs of a channel."""
        return frame.scratch["taps"].at(at[2] * self.words)

    def emit(self, frame: Frame) -> None:
        x, y = self.view(frame.tensors[frame.task.inputs[0]]), self.view(frame.out)
        assert x is not None and y is not None
        rows = self.padded_rows(frame)
        with loop("n", 0, x.shape[0]) as n, loop("c", 0, x.shape[1] // self.group) as block:
            c = block * self.group
            with loop("slot", 0, self.group) as slot:
                self.gather_taps(frame, c + slot, slot * self.words)
            for start, count, size in runs(self.plane.out[0], self.strip):
                with loop("strip", 0, count) as i:
                    first = start + i * size
                    top = first * self.plane.window.strides[0]
                    rows.copy(x, (n, c), top, self.kept(first), self.rows_for(size))
                    with loop("slot", 0, self.group) as slot:
                        self.emit_strip(frame, y, (n, c + slot, slot), first, size)
                    if self.strip < self.plane.out[0]:
                        rows.move_up(self.overlap, size * self.plane.window.strides[0])

    def emit_strip(self, frame: Frame, y: Tensor, at: Channel, first: Expr, size: int) -> None:
        """Rows of the result from ``first`` on, whose windows are in scratch."""
        for start, count, pixels in self.tiles:
            if size >= count:  # a routine goes down the rows, or along them, whichever are more
                with loop("tile", 0, count) as tile:
                    column = start + tile * pixels
                    down = self.plane.window.strides[0] * self.line, y.strides[2], size
                    self.run(frame, y, at, (first, 0, column), pixels, down)
            else:
                with loop("y", 0, size) as line:
                    along = pixels * self.plane.window.strides[1], pixels * y.strides[3], count
                    self.run(frame, y, at, (first, line, start), pixels, along)

    def run(
        self,
        frame: Frame,
        y: Tensor,
        at: Channel,
        place: tuple[Expr, Expr, Expr],
        pixels: int,
        repeat: tuple[int, int, int],
    ) -> None:
        """The routine, from a ``place`` on: the first line of the strip, that of the tile in the strip, and its column.

        ``repeat``: how far in the rows and in the result, how often.
        """
        (n, c, slot), (first, line, column) = at, place
        strides, dilations = self.plane.window.strides, self.plane.window.dilations
        begin = slot * self.rows_of_channel + line * strides[0] * self.line + column * strides[1]
        result = y.at(n, c, first + line, column)
        rows, taps = frame.scratch["rows"].at(begin), self.taps(frame, at)
        self.routine(pixels).run(rows, taps, result, y.strides[3], dilations[0] * self.row, *repeat)


StripsT = TypeVar("StripsT", bound=DepthwiseStrips)


def in_strips(wholes: Sequence[StripsT]) -> list[StripsT]:
    """Some forms, and the same in ever more strips."""
    forms = list(wholes)
    for whole in wholes:
        rows = whole.plane.out[0]
        forms += [replace(whole, parts=-(-rows // height)) for height in range(whole.strip - 1, 0, -1)]
    return forms


@dataclass(frozen=True)
class DepthwisePairs(DepthwiseStrips):
    """By pairs of products.

    If ``scales``, a routine does the tiles; else their taps are written out here, and the epilogue behind them.
    """

    scales: bool

    def tile(self, pixels: int) -> Tile:
        window = self.plane.window
        rows, columns = window.kernel
        alone = pixels == self.plane.out[1] and window.dilations[0] == 1
        return Tile(rows, columns, window.strides[1], pixels, alone)

    @property
    def row(self) -> int:
        """Elements of a row with its padding, and what pairs read beyond it; even."""
        tile = self.tile(self.pixels)
        return 2 * ((self.plane.out[1] - 1) * self.plane.window.strides[1] // 2 + tile.words)

    @property
    def words(self) -> int:
        return 1 + self.tile(self.pixels).taps + SCALING

    @property
    def copied(self) -> Instruction:
        return WIDEN_ROWS if self.group == 1 else WIDEN_TWO

    def routine(self, pixels: int) -> Instruction:
        return dsp_depthwise.depthwise_routine(self.tile(pixels))

    def emit_strip(self, frame: Frame, y: Tensor, at: Channel, first: Expr, size: int) -> None:
        if self.scales:
            super().emit_strip(frame, y, at, first, size)
            return
        for start, count, pixels in self.tiles:
            with loop("y", 0, size) as line, loop("tile", 0, count) as tile:
                self.emit_tile(frame, y, at, (first, line), start + tile * pixels, pixels)

    def emit_tile(
        self, frame: Frame, out: Tensor, at: Channel, y: tuple[Expr, Expr], column: Expr, pixels: int
    ) -> None:
        """A tile with its taps written out, and the epilogue."""
        (n, c, slot), (first, line) = at, y
        window, rows, taps = self.plane.window, frame.scratch["rows"], frame.scratch["taps"]
        tile = self.tile(pixels)
        acc = Locals("acc", pixels, "int32")
        for p in range(pixels):
            acc[p] = taps.load(Point((slot * self.words,)))
        for ky in range(window.kernel[0]):
            line_of_tap = line * window.strides[0] + ky * window.dilations[0]
            start = slot * self.rows_of_channel + line_of_tap * self.row + column * window.strides[1]
            for pair in range(tile.start(pixels - 1)[0] + tile.words):
                for p in range(pixels):
                    begin, phase = tile.start(p)
                    if tile.is_tap(phase, pair - begin):
                        weight = taps.load(Point((slot * self.words + 1 + tile.tap(ky, pair - begin, phase),)))
                        acc[p] = ADD_PRODUCTS.call(PAIR_AT.call(rows.at(start + 2 * pair)), weight, acc[p])
        epilogue = frame.epilogue(self.view)
        for p in range(pixels):
            point = Point((n, c, first + line, column + p))
            out.store(point, epilogue(acc[p], point))

    def gather_taps(self, frame: Frame, c: Expr, place: Expr) -> None:
        taps = frame.scratch["taps"]
        weight, bias = frame.packed["weight"].at(c, 0, 0), frame.packed["bias"].at(c)
        dsp_depthwise.taps_routine(self.tile(self.pixels)).run(taps.at(place), weight, bias)
        if self.scales:
            for i in range(SCALING):
                number = frame.packed["scaling"].load(Point((c, i)))
                taps.store(Point((place + self.words - SCALING + i,)), number)


@dataclass(frozen=True)
class PaddedRows:
    """Rows of one channel in scratch, ``row`` elements each, with their padding; a routine ``copied`` them there.

    If ``depth`` channels take turns, it is the rows of one of them. There are as many ``planes`` as channels are copied
    at once.
    """

    plane: Plane
    row: int
    zero_point: int
    copied: Instruction
    buffer: Tensor
    planes: tuple[int, ...]
    depth: int = 1
    channel: Expr = 0

    def of(self, channel: Expr, depth: int) -> PaddedRows:
        """The rows of a channel among so many."""
        return replace(self, channel=channel, depth=depth)

    def place(self, line: Expr) -> Expr:
        """Where a row begins."""
        return (line * self.depth + self.channel) * self.row

    @property
    def width(self) -> int:
        """Elements of the input in a row."""
        return max(0, min(self.plane.size[1], self.row - self.plane.window.pads[1]))

    def targets(self, place: Expr) -> list[Expr]:
        """Pointers to a place in all planes."""
        return [self.buffer.at(plane + place) for plane in self.planes]

    def fill(self, place: Expr, width: Expr, lines: Expr) -> None:
        """Padding of so many rows, from a place in the first on."""
        pitch = self.depth * self.row
        FILL_ROWS[self.buffer.dtype].run(self.buffer.at(place), self.zero_point, width, lines, pitch)

    def fill_columns(self, lines: int) -> None:
        """The padding at the ends of rows, which stays."""
        left = min(self.plane.window.pads[1], self.row)  # windows may be in the padding as a whole
        for first, last in ((0, left), (left + self.width, self.row)):
            if first < last:
                self.fill(first, last - first, lines)

    def copy(self, x: Tensor, at: tuple[Expr, Expr], top: Expr, first: Expr, last: int) -> None:
        """Rows of scratch from ``first`` to ``last``, which hold those of the padded input from ``top`` on."""
        if not self.width:
            return
        plane, left = self.plane, self.plane.window.pads[1]
        begin = top - plane.window.pads[0]
        low, high = first, last
        if plane.interior(0) != (0, plane.out[0]):
            low, high = tirx.max(first, -begin), tirx.min(last, plane.size[0] - begin)
            for start, stop in ((first, tirx.min(low, last)), (tirx.max(high, first), last)):
                with when(start < stop), loop("slot", 0, len(self.planes)) as slot:
                    self.fill(slot * self.planes[-1] + self.place(start) + left, self.width, stop - start)
        if x.dtype == "int8" and x.strides[2] == plane.size[1] * x.strides[3] and self.width == plane.size[1]:
            with when(low < high):
                source = x.at(*at, begin + low, 0)
                skipped = self.depth * self.row - self.width
                sizes = x.strides[3], self.width, high - low, skipped
                self.copied.run(*self.targets(self.place(low) + left), source, *sizes)
            return
        if x.dtype == "int8":
            with loop("line", low, high) as line:
                targets = self.targets(self.place(line) + left)
                self.copied.run(*targets, x.at(*at, begin + line, 0), x.strides[3], self.width, 1, 0)
            return
        with loop("line", low, high) as line, loop("i", 0, self.width) as i:
            element = cast(x.load(Point((*at, begin + line, i))), "int16")
            self.buffer.store(Point((self.place(line) + left + i,)), element)

    def move_up(self, lines: int, by: int) -> None:
        """The last rows of a strip to the top, from ``by`` rows below."""
        if lines:
            with loop("slot", 0, len(self.planes)) as slot:
                place = slot * self.planes[-1]
                source = self.buffer.at(place + by * self.row)
                MOVE_ROWS[self.buffer.dtype].run(self.buffer.at(place), source, lines * self.row)
