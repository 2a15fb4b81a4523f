"""The loops around routines that sum many products of 8 bits at once, and what instruction sets have for them.

A routine sums all channels of two pixels, or of one. Where the sums are requantised to int8 first of all, it does that
too, and stores the results, or leaves them in scratch for the rest of the epilogue; else it leaves the sums there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import StoredForm
from graphopt.targets.instructions import products
from graphopt.targets.instructions.addition import ADD_SCALED
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.kernels.addition import Addition
from graphopt.targets.kernels.base import (
    Frame,
    Scratch,
    View,
)
from graphopt.targets.kernels.expanded import BareWindow
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.mve_windows import ColumnWindows
from graphopt.targets.kernels.product_sets import ProductSet
from graphopt.targets.kernels.scaling import (
    limits_of,
)
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.windows import Tile, Windows
from graphopt.targets.scalars import clamp
from graphopt.targets.schedule import runs
from graphopt.targets.tir import Expr, Point, Tensor, loop


@dataclass(frozen=True)
class ProductsConv(ABC):
    """The loops of one convolution: batch, pixels, and channels within the routine.

    If ``scales``, a routine gives int8, the sums after their requantisation. If these are the result, ``direct``, it
    writes them there, else into scratch, and the epilogue follows: an ``addition``, or anything.
    """

    by: ProductSet
    plane: Plane
    view: View
    windows: Windows
    groups: int
    channels: int
    depth: int
    scales: bool
    direct: bool
    addition: Addition | None
    coded: StoredForm | None = None
    """The form of weights that are unpacked on the way."""

    def stream(self, rows: Array, bias: Array, scaling: Array) -> dict[str, Array]:
        """The constants of a group of channels that are convolved with each other."""
        if self.coded is None:
            return {"weight": self.by.stream(rows, bias, scaling, self.lanes)}
        codes, numbers = self.by.codes[self.coded].pack(rows, bias, scaling, self.lanes)
        return {"weight": codes, "sums": numbers}

    @property
    def numbers(self) -> int:
        """Those of a group of channels behind their weights in a stream."""
        return 3 * self.lanes if self.scales else 0

    @property
    def stream_words(self) -> int:
        """The words of a group of channels in a stream."""
        weight, bias = np.zeros((self.lanes, self.depth), np.int8), np.zeros(self.lanes, np.int64)
        return self.by.stream(weight, bias, np.zeros((self.lanes, 3 * self.scales), np.int32), self.lanes).size

    @property
    def at_once(self) -> int:
        """Groups of channels whose weights are unpacked together."""
        return min(self.padded // self.lanes, max(1, UNPACKED_WORDS // self.stream_words))

    @property
    def resident(self) -> bool:
        """Whether weights are unpacked once, all of those that are multiplied with the same channels."""
        return self.coded is not None and self.at_once == self.padded // self.lanes

    @property
    def unpacked(self) -> Mapping[str, Scratch]:
        """Scratch for weights that are unpacked on the way."""
        if self.coded is None:
            return {}
        return {"stream": Scratch("int32", self.at_once * self.stream_words + self.by.codes[self.coded].beyond)}

    def unpack(self, frame: Frame, group: Expr, count: int) -> Expr:
        """The stream of so many groups from one on, in scratch."""
        assert self.coded is not None
        codes, numbers = (frame.packed[name].at(group, 0) for name in ("weight", "sums"))
        target, words = frame.scratch["stream"].at(0), self.stream_words - self.lanes - self.numbers
        self.by.codes[self.coded].unpack.run(target, codes, numbers, words, self.lanes, self.numbers, count)
        return target

    def weights(self, frame: Frame, n: Expr) -> tuple[Tensor, Expr]:
        """The stream, and where the part of a sample, or of a group in its place, begins."""
        packed = frame.packed["weight"]
        return packed, n * (packed.shape[0] // self.groups) if self.groups > 1 else 0

    @property
    def lanes(self) -> int:
        """Channels of a group."""
        return self.routine(self.windows.pixels).lanes

    @property
    def padded(self) -> int:
        """The channels of all groups."""
        return -(-self.channels // self.lanes) * self.lanes

    @property
    def packed(self) -> Mapping[str, Array]:
        return {} if self.addition is None else {"numbers": self.addition.numbers}

    @property
    @abstractmethod
    def most(self) -> int:
        """Pixels at once."""

    @property
    def last(self) -> int | None:
        """As ``Windows.reads`` takes it."""
        return None

    @property
    def returns(self) -> bool:
        """Whether windows are read where they stand, again for each part of the channels whose weights are unpacked."""
        return False

    @property
    def row(self) -> int:
        """Elements from a pixel to the next in scratch."""
        return self.padded

    @property
    def results(self) -> Mapping[str, Scratch]:
        """Scratch for what routines write that has no place in the result."""
        return {"results": Scratch("int8" if self.scales else "int32", self.most * self.row)}

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {**self.windows.scratch, **self.results, **self.unpacked}

    @property
    def effort(self) -> float:
        return self.windows.effort

    def routine(self, pixels: int) -> Instruction:
        return self.by.routines[pixels == 1, self.scales]

    def emit(self, frame: Frame, batch: int) -> None:
        x = self.view(frame.tensors[frame.task.inputs[0]])
        assert x is not None
        tail = Tail(frame, self.view)
        tail.prefill()
        with loop("n", 0, batch) as n:
            if self.resident:
                self.unpack(frame, self.weights(frame, n)[1], self.padded // self.lanes)

            def compute(tile: Tile) -> None:
                if self.direct:
                    self.store_scaled(frame, tail.out, n, tile)
                else:
                    self.write_scratch(frame, n, tile)
                    self.store_rest(frame, tail, n, tile)

            self.windows.each(frame, x, n, self.most, compute)

    @abstractmethod
    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        """The results of a tile, where they belong."""

    @abstractmethod
    def write_scratch(self, frame: Frame, n: Expr, tile: Tile) -> None:
        """The results of a tile into scratch, pixel by pixel."""

    def store_rest(self, frame: Frame, tail: Tail, n: Expr, tile: Tile) -> None:
        """What follows of the epilogue, on results in scratch."""
        if self.addition is not None:
            self.add(frame, self.addition, tail.out, n, tile)
            return
        epilogue, results = frame.epilogue(self.view, int(self.scales)), frame.scratch["results"]
        limits = limits_of(frame.task) if self.scales else None
        for slot in each_slot(tile.pixels):
            with loop("o", 0, self.channels) as o:
                point = Point((n, o, *tile.at(slot)))
                value = results.load(Point((slot * self.row + o,)))
                tail.store(point, epilogue(value if limits is None else clamp(value, *limits), point))

    def add(self, frame: Frame, addition: Addition, out: Tensor, n: Expr, tile: Tile) -> None:
        """Add an operand to the results in scratch: to those of all pixels where these stand together."""
        other, results = self.view(frame.tensors[addition.other]), frame.scratch["results"]
        assert other is not None
        together = tile.pixels if self.row == self.channels and self.one_run else 1
        for slot in range(0, tile.pixels, together):
            first = tile.at(slot)
            operands = results.at(slot * self.row), other.at(n, 0, *first), out.at(n, 0, *first)
            ADD_SCALED.run(*operands, frame.packed["numbers"].at(0), together * self.channels)

    @property
    def one_run(self) -> bool:
        """Whether the pixels of a tile are of one row."""
        return True


class GroupProducts(ProductsConv):
    """By routines that write whole groups of channels, always of as many pixels."""

    def routine(self, pixels: int) -> Instruction:
        if isinstance(self.windows, BareWindow):
            return self.windows.form.bare[self.scales]
        return super().routine(pixels)

    @property
    def effort(self) -> float:
        each = self.padded // self.lanes if isinstance(self.windows, BareWindow) else 1
        return each * super().effort

    @property
    def most(self) -> int:
        return self.windows.pixels

    @property
    def one_run(self) -> bool:
        return self.plane.out[0] == 1 or self.plane.out[1] % self.most == 0

    @property
    def results(self) -> Mapping[str, Scratch]:
        if not self.direct:
            return super().results
        return {"results": Scratch("int8", 2 * self.lanes)} if self.channels % self.lanes else {}

    def write_scratch(self, frame: Frame, n: Expr, tile: Tile) -> None:
        scratch = frame.scratch["results"]
        places = [partial(beside, scratch, slot * self.row) for slot in range(self.most)]
        self.run(frame, n, tile, places, 0, self.channels)

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        """Full groups of channels go into the result, the last channels beside it.

        The second of one pixel is the first once more.
        """
        lanes, spare = self.lanes, frame.scratch.get("results")
        whole = self.channels // lanes * lanes
        if whole:
            places = [partial(at_channel, out, n, tile.at(slot)) for slot in range(tile.pixels)]
            self.run(frame, n, tile, [*places, *places[-1:] * (self.most - tile.pixels)], 0, whole)
        if spare and whole < self.channels:
            last = [partial(beside, spare, lanes * slot - whole) for slot in range(self.most)]
            self.run(frame, n, tile, last, whole, self.channels)
            for slot in range(tile.pixels):
                for o in range(self.channels - whole):
                    out.store(Point((n, whole + o, *tile.at(slot))), spare.load(Point((lanes * slot + o,))))

    def run(self, frame: Frame, n: Expr, tile: Tile, results: Sequence[Place], first: int, last: int) -> None:
        """The channels from ``first``, where a group begins, up to ``last``."""
        routine, count = self.routine(self.most), -(-(last - first) // self.lanes)
        weights, begin = self.weights(frame, n)  # in elements, or in rows of codes
        if self.coded is None:
            at = begin + first // self.lanes * (weights.shape[0] // self.groups * self.lanes // self.padded)
            routine.run(tile.window, weights.at(at), *(place(first) for place in results), self.blocks, count)
            return
        if self.resident:
            stream = frame.scratch["stream"].at(first // self.lanes * self.stream_words)
            routine.run(tile.window, stream, *(place(first) for place in results), self.blocks, count)
            return
        for start, parts, size in runs(count, self.at_once):
            with loop("part", 0, parts) as i:
                group = start + i * size
                stream = self.unpack(frame, begin + first // self.lanes + group, size)
                places = (place(first + group * self.lanes) for place in results)
                routine.run(tile.window, stream, *places, self.blocks, size)

    @property
    def blocks(self) -> int:
        """Of a window."""
        return -(-self.depth // products.BLOCK)


def each_slot(pixels: int) -> Iterator[Expr]:
    """The pixels of a tile, written out where they are a pair."""
    if pixels <= 2:
        yield from range(pixels)
        return
    with loop("slot", 0, pixels) as slot:
        yield slot


UNPACKED_WORDS = 256
"""Of weights in scratch, unless one group of channels has more."""
Place = Callable[[int | Expr], Expr]
"""A pointer to the result of a channel."""


def beside(scratch: Tensor, start: int, channel: Expr) -> Expr:
    return scratch.at(start + channel)


def at_channel(out: Tensor, n: Expr, at: tuple[Expr, Expr], channel: Expr) -> Expr:
    return out.at(n, channel, *at)


TILE = 16
"""Pixels for which weights are unpacked that are too many for scratch, so that the result may lie over the operand."""
AT_ONCE = 512
"""Results in scratch, where another tensor is added to them, or weights are unpacked for them."""


class WholeProducts(ProductsConv):
    """By routines that write all channels, of any even number of pixels or of one."""

    @property
    def most(self) -> int:
        if self.direct:
            return min(self.plane.out[1], TILE) if self.returns else self.plane.out[1]
        more = self.addition is not None or self.coded is not None
        pairs = AT_ONCE // (2 * self.channels) if more else 0
        return min(self.plane.out[1], max(self.windows.pixels, 2 * pairs))

    @property
    def last(self) -> int | None:
        return (self.channels - 1) % self.lanes + 1 if self.direct else None

    @property
    def returns(self) -> bool:
        in_parts = self.coded is not None and not self.resident
        return self.direct and in_parts and isinstance(self.windows, ColumnWindows) and self.windows.stand

    @property
    def row(self) -> int:
        return self.channels

    @property
    def results(self) -> Mapping[str, Scratch]:
        return {} if self.direct else super().results

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        self.run(frame, n, tile, partial(at_channel, out, n, tile.at(0)), out.strides[3])

    def write_scratch(self, frame: Frame, n: Expr, tile: Tile) -> None:
        self.run(frame, n, tile, partial(beside, frame.scratch["results"], 0), self.row)

    def run(self, frame: Frame, n: Expr, tile: Tile, result: Place, step: int) -> None:
        """All channels of a tile, to results that are ``step`` elements apart."""
        steps = (tile.step, step, tile.pixels) if tile.pixels > 1 else ()
        weights, begin = self.weights(frame, n)  # in elements, or in rows of codes
        routine = self.routine(tile.pixels)
        if self.coded is None:
            routine.run(tile.window, weights.at(begin), result(0), *steps, self.depth, self.channels)
            return
        if self.resident:
            stream = frame.scratch["stream"].at(0)
            routine.run(tile.window, stream, result(0), *steps, self.depth, self.channels)
            return
        for start, parts, size in runs(self.padded // self.lanes, self.at_once):
            with loop("part", 0, parts) as i:
                group = start + i * size
                first = group * self.lanes
                channels: Expr = size * self.lanes
                if self.channels < (start + parts * size) * self.lanes:
                    channels = tirx.min(channels, self.channels - first)
                stream = self.unpack(frame, begin + group, size)
                routine.run(tile.window, stream, result(first), *steps, self.depth, channels)
