"""Convolution of few channels, as the first layer of a net is one: by the routines of depthwise convolution.

The rows of all channels take turns in scratch, so a window is as many rows of taps as it has rows and channels, one at
the same distance from the next. A routine sums pixels side by side of one channel of the result; its taps, which all
pixels share, are constants in the form that it reads. It goes over the tiles of a channel, or over the channels of a
tile, whichever is fewer calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from graphopt.ir import Array
from graphopt.ops import ConvInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.dsp_depthwise import Tile, depthwise_routine
from graphopt.targets.instructions.widening import WIDEN_ROWS
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, fitting
from graphopt.targets.kernels.depthwise import MOST_STRIDE, UP, DepthwisePairs
from graphopt.targets.kernels.depthwise_strips import RESTART, Channel, in_strips
from graphopt.targets.kernels.geometry import Plane, as_plane
from graphopt.targets.kernels.leads import reading, table_of
from graphopt.targets.kernels.order import row_reads
from graphopt.targets.kernels.quantized import prove_no_overflow, zero_point_of
from graphopt.targets.kernels.scaling import OneShift, limited, one_shift, parameters_of, scaling_of
from graphopt.targets.schedule import RegisterTile, runs
from graphopt.targets.tir import Expr, Tensor, loop

MOST_CHANNELS = 4
MOST_PRODUCTS = 120
"""Pairs of products that a routine has written out for a tile."""
MOVED = 0.5
"""About the instructions of an element that is moved from strip to strip."""


def planar_by_pairs(task: Task[ConvInteger], name: str, plane: Plane, weight: Array) -> Kernel:
    """The kernel of a convolution over a plane, weight [o, c, kh, kw]."""
    x, w, b = task.inputs
    scaling = scaling_of(task, len(weight))
    window, channels = plane.window, weight.shape[1]
    if scaling is None or x.type.dtype not in WIDEN_ROWS or b.constant is None:
        raise Decline("it takes elements of 8 bits, and gives int8")
    if channels > MOST_CHANNELS or window.kernel[1] == 1:
        raise Decline(f"it takes windows of up to {MOST_CHANNELS} channels, and of more than one column")
    if window.strides[1] > MOST_STRIDE or window.dilations != (1, 1):
        raise Decline(f"it takes strides up to {MOST_STRIDE}, and no dilations")
    shared = one_shift(task, scaling)
    whole = PlanarConv(
        plane,
        as_plane,
        zero_point_of(task.op),
        True,
        OneShift.of(shared),
        channels=len(weight),
        depth=channels,
        source=reading(task),
        groups=task.op.group,
    )
    kernel, forms = fitting(task, in_strips([whole]))
    tile = kernel.tile(kernel.pixels)
    if tile.rows * tile.words * tile.pixels > MOST_PRODUCTS:
        raise Decline("its windows have too many taps")
    prove_no_overflow(task.op, weight, b.constant, x.type.dtype, task.region.node.name)
    zeros = kernel.zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    starts = b.constant - zeros
    rows = weight.transpose(0, 2, 1, 3).reshape(len(weight), tile.rows, tile.columns).astype(np.int64)
    if shared is not None:
        starts, rows, scaling = starts << shared.up, rows << shared.up[:, None, None], shared.numbers[:, :UP]
    numbers = starts.astype(np.uint64).astype(np.uint32).view(np.int32)[:, None]
    packed = {"taps": np.hstack([numbers, tile.packed(rows), scaling.astype(np.int32)]), **table_of(task)}
    alone = task.source in task.covered and task.op.group == 1  # each group reads after the one before has written
    reads = row_reads(task, plane, as_plane, kernel.strip) if alone else {}
    shape, parameters = RegisterTile(kernel.pixels, 1), parameters_of(task)
    made = Kernel(name, kernel.emit, packed, (w, b), shape, reads, kernel.scratch, parameters, forms=forms)
    return limited(replace(made, lead=task.region.lead), task)


@dataclass(frozen=True)
class PlanarConv(DepthwisePairs):
    """Strips of rows of the channels of a group, then channels of the result, then tiles of pixels by a routine."""

    groups: int = 1

    @property
    def calls(self) -> tuple[int, int]:
        """Of a strip, if routines go over the channels of a group, and if they go over tiles."""
        tiles = [count for _, count, _ in self.tiles]
        return self.strip * sum(tiles), self.channels // self.groups * sum(min(self.strip, count) for count in tiles)

    @property
    def over_channels(self) -> bool:
        over, along = self.calls
        return over < along

    @property
    def effort(self) -> float:
        moved = MOVED * self.overlap * self.line
        return self.groups * self.strips * (RESTART * min(self.calls) + moved)

    def routine(self, pixels: int) -> Instruction:
        return depthwise_routine(replace(self.tile(pixels), over_channels=self.over_channels))

    def tile(self, pixels: int) -> Tile:
        tile = super().tile(pixels)
        return replace(tile, rows=tile.rows * self.depth)

    @property
    def scratch(self) -> dict[str, Scratch]:
        return self.scratch_of_rows

    def taps(self, frame: Frame, at: Channel) -> Expr:
        return frame.packed["taps"].at(at[1], 0)

    def emit(self, frame: Frame) -> None:
        x, y = self.view(frame.tensors[frame.task.inputs[0]]), self.view(frame.out)
        assert x is not None and y is not None
        rows = self.padded_rows(frame)

        stride = self.plane.window.strides[0]
        each = y.shape[1] // self.groups
        with loop("n", 0, x.shape[0]) as n, loop("group", 0, self.groups) as group:
            for start, count, size in runs(self.plane.out[0], self.strip):
                with loop("strip", 0, count) as i:
                    first = start + i * size
                    with loop("c", 0, self.depth) as c:
                        taking_turns = rows.of(c, self.depth)
                        at, lines = (n, group * self.depth + c), (self.kept(first), self.rows_for(size))
                        taking_turns.copy(x, at, first * stride, *lines, self.strips == 1)
                    if self.over_channels:
                        self.emit_tiles(frame, y, (n, group * each, 0), first, size)
                    else:
                        with loop("o", 0, each) as o:
                            self.emit_strip(frame, y, (n, group * each + o, 0), first, size)
                    if self.strip < self.plane.out[0]:
                        rows.move_up(self.overlap * self.depth, size * stride * self.depth)

    def emit_tiles(self, frame: Frame, y: Tensor, at: Channel, first: Expr, size: int) -> None:
        """Rows of the result from ``first`` on, of all channels of a group from that of ``at`` on."""
        over = 0, y.strides[1], self.channels // self.groups
        for start, count, pixels in self.tiles:
            with loop("y", 0, size) as line, loop("tile", 0, count) as tile:
                self.run(frame, y, at, (first, line, start + tile * pixels), pixels, over)
