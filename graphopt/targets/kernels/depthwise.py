"""Depthwise convolution of 8 bits by pairs of products: rows of one channel, widened into scratch, two taps at a time.

Pairs of elements stand at even places of a row. A window that begins at an odd place takes its weights one further on:
(0, w0), (w1, w2). Padding is the zero point, and is in the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from graphopt.ir import Array, Value
from graphopt.ops import ConvInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions import dsp_depthwise
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.dsp_depthwise import Tile
from graphopt.targets.instructions.narrow_rows import MOST_WIDTH, widen_narrow
from graphopt.targets.instructions.portable import (
    ADD_PRODUCTS,
    PAIR_AT,
)
from graphopt.targets.instructions.widening import WIDEN_ROWS, WIDEN_TWO
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, fitting
from graphopt.targets.kernels.depthwise_strips import Channel, DepthwiseStrips, in_strips
from graphopt.targets.kernels.geometry import Plane, as_plane, as_swapped, plane_window, swapped
from graphopt.targets.kernels.leads import reading, table_of
from graphopt.targets.kernels.order import strip_reads
from graphopt.targets.kernels.quantized import zero_point_of
from graphopt.targets.kernels.scaling import OneShift, limited, one_shift, parameters_of, scaling_of
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop
from graphopt.targets.weights import WHOLE, Storage, WeightPlace, storage_of

UP = 2
"""The place of the bits by which the weights of a channel are shifted up, behind its multiplier and addend."""
LEAST_PIXELS = 100
"""Of a plane whose channels are copied by twos, and then one alone."""
MOST_STRIDE = 2
"""Of windows side by side that routines know."""


def depthwise_by_pairs(
    task: Task[ConvInteger], plane: Plane, weight: Array, bias: Array, kind: type[DepthwisePairs] | None = None
) -> Kernel:
    """Depthwise convolution with multiplier one; weight is [c, 1, kh, kw].

    Another ``kind`` of loops than the usual goes over one channel after the other.
    """
    x, w, b = task.inputs
    storage = storage_of(w)
    if storage.by_channel:
        raise Decline("its weights have factors of groups")
    if x.type.dtype not in WIDEN_ROWS:
        raise Decline("it takes elements of 8 bits")
    view = as_plane
    if plane.window.kernel[1] == 1:
        plane, weight, view = swapped(plane), weight.transpose(0, 1, 3, 2), as_swapped
    if plane.window.dilations[1] != 1:
        raise Decline("its taps do not stand side by side")
    zero_point = zero_point_of(task.op)
    folded = bias - zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    scaling = scaling_of(task, len(weight))
    if plane.window.strides[1] > MOST_STRIDE or plane.window.dilations[0] != 1:
        scaling = None
    shared = one_shift(task, scaling)
    by_two = kind is None and task.region.lead is None and by_twos(view(task.strided(x)))
    groups = (2, 1) if by_two and plane.size[1] > MOST_WIDTH else (1,)
    wholes = [
        (kind or DepthwisePairs)(
            plane,
            view,
            zero_point,
            scaling is not None,
            OneShift.of(shared),
            storage,
            channels=len(weight),
            group=group,
            source=reading(task),
        )
        for group in groups
    ]
    kernel, forms = fitting(task, in_strips(wholes))
    kernel.check(task)
    if shared is not None:
        scaling, folded = shared.numbers, folded << shared.up
    packed = {**storage.pack(weight), "bias": folded.astype(np.int32), **table_of(task)}
    absorbed: tuple[Value, ...] = ()
    if scaling is not None:
        packed["scaling"], absorbed = scaling.astype(np.int32), parameters_of(task)
    packed |= kernel.tables
    name = "depthwise_{}x{}".format(*plane_window(task.op.window(w.type)).kernel)
    reads = strip_reads(task, view, plane, kernel.strip, kernel.overlap) if task.source in task.covered else {}
    tile = RegisterTile(kernel.pixels, 1)
    made = Kernel(name, kernel.emit, packed, (w, b), tile, reads, kernel.scratch, absorbed, forms=forms)
    made = replace(made, loops=kernel.loops, lead=task.region.lead)
    return limited(made, task) if kernel.scales else made


def by_twos(x: Tensor) -> bool:
    """Whether two channels at a time are copied, neighbours in all pixels of a plane.

    Where one is left over, that takes code of its own, which many pixels are worth.
    """
    _, channels, rows, columns = x.shape
    enough = channels % 2 == 0 or (channels > 1 and rows * columns >= LEAST_PIXELS)
    return x.dtype in WIDEN_TWO and x.strides[1] == 1 and enough


@dataclass(frozen=True)
class DepthwisePairs(DepthwiseStrips):
    """By pairs of products.

    If ``scales``, a routine does the tiles, with one ``shift`` of all channels or one of each; else their taps are
    written out here, and the epilogue behind them.
    """

    scales: bool
    shift: int | None = None
    storage: Storage = WHOLE

    def tile(self, pixels: int) -> Tile:
        window = self.plane.window
        rows, columns = window.kernel
        alone = pixels == self.plane.out[1] and window.dilations[0] == 1
        return Tile(rows, columns, window.strides[1], pixels, alone, self.shift)

    @property
    def row(self) -> int:
        """Elements of a row with its padding, and what pairs read beyond it; even."""
        tile = self.tile(self.pixels)
        return 2 * ((self.plane.out[1] - 1) * self.plane.window.strides[1] // 2 + tile.words)

    @property
    def words(self) -> int:
        tile = self.tile(self.pixels)
        return 1 + tile.taps + tile.scaling

    @property
    def scratch(self) -> dict[str, Scratch]:
        whole = {} if self.storage.whole else {"weights": Scratch("int8", math.prod(self.plane.window.kernel))}
        return {**super().scratch, **whole}

    @property
    def copied(self) -> Instruction:
        width = min(self.plane.size[1], self.row - self.plane.window.pads[1])
        if self.group == 1 and 0 < width <= MOST_WIDTH and self.source == "int8":
            return widen_narrow(width)
        return (WIDEN_ROWS if self.group == 1 else WIDEN_TWO)[self.source]

    @property
    def copied_alone(self) -> Instruction:
        return WIDEN_ROWS[self.source]

    def routine(self, pixels: int) -> Instruction:
        return dsp_depthwise.depthwise_routine(self.tile(pixels))

    @property
    def tables(self) -> dict[str, Array]:
        """What is read beside weights, by name."""
        return {}

    @property
    def loops(self) -> Callable[[Frame], None] | None:
        """What ``emit`` stands for, where that calls a routine that has the loops."""
        return None

    def check(self, task: Task[ConvInteger]) -> None:
        """Raise ``Decline`` where a task does not suit."""

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
        taps, tile = frame.scratch["taps"], self.tile(self.pixels)
        count, bias = math.prod(self.plane.window.kernel), frame.packed["bias"].at(c)
        weight = frame.packed["weight"].at(c * count) if self.storage.whole else self.unpack(frame, c * count, count)
        up = 0 if self.shift is None else frame.packed["scaling"].load(Point((c, UP)))
        dsp_depthwise.taps_routine(tile).run(taps.at(place), weight, bias, up)
        if self.scales:
            for i in range(tile.scaling):
                number = frame.packed["scaling"].load(Point((c, i)))
                taps.store(Point((place + self.words - tile.scaling + i,)), number)

    def unpack(self, frame: Frame, first: Expr, count: int) -> Expr:
        """So many weights from one on, as bytes in scratch."""
        weights, codegen = frame.scratch["weights"], frame.task.target.codegen
        with loop("tap", 0, count) as tap:
            weight = self.storage.load(frame.packed, WeightPlace(first + tap), "int8", codegen)
            weights.store(Point((tap,)), weight)
        return weights.at(0)
