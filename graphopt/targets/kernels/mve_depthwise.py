"""Depthwise convolution of int8 for Helium: sixteen channels of a strip of rows in scratch, with their padding.

All taps of a window then stand at fixed distances, and a routine sums eight channels of pixel after pixel, along the
rows or down the columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import ConvInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions import mve_depthwise
from graphopt.targets.instructions.mve_columns import COPY_COLUMNS
from graphopt.targets.instructions.mve_depthwise import LANES, MOST_REACH, MOST_TAPS, Taps
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, View
from graphopt.targets.kernels.geometry import Plane, as_plane, as_swapped, plane_window, swapped
from graphopt.targets.kernels.order import strip_reads
from graphopt.targets.kernels.quantized import zero_point_of
from graphopt.targets.kernels.scaling import limited, parameters_of, scaling_of
from graphopt.targets.schedule import RegisterTile, balanced, runs
from graphopt.targets.tir import Expr, Tensor, loop, when
from graphopt.targets.weights import expect_whole

BLOCK = 16
"""Channels that are copied at once."""
STRIP_BYTES = 2048
"""Of a strip of rows, unless one window needs more."""


def depthwise_by_vectors(task: Task[ConvInteger], plane: Plane, weight: Array, bias: Array) -> Kernel:
    """Depthwise convolution with multiplier one; weight is [c, 1, kh, kw]."""
    x, w, b = task.inputs
    expect_whole(w)
    if x.type.dtype != "int8":
        raise Decline("it takes int8")
    if weight.min(initial=0) < mve_depthwise.LEAST_WEIGHT:
        raise Decline(f"a weight is below {mve_depthwise.LEAST_WEIGHT}")
    if weight[0].size > MOST_TAPS:
        raise Decline(f"it has more than {MOST_TAPS} taps")
    scaling = scaling_of(task, len(weight))
    if scaling is None or task.out.strides[1] != 1 != len(weight):
        raise Decline("its results are not scaled to int8, channels side by side")
    view: View = as_plane
    if plane.window.kernel[1] == 1:
        plane, weight, view = swapped(plane), weight.transpose(0, 1, 3, 2), as_swapped
    zero_point = zero_point_of(task.op)
    folded = bias - zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    kernel = DepthwiseVectors(plane, view, len(weight), zero_point)
    if kernel.block * plane.window.extent[1] > MOST_REACH:
        raise Decline("its taps are too far apart")
    packed = {
        "weight": mve_depthwise.stream(weight.reshape(len(weight), -1), folded, scaling),
        "padding": np.full(BLOCK, zero_point, np.int8),
    }
    name = "depthwise_{}x{}".format(*plane_window(task.op.window(w.type)).kernel)
    reads = strip_reads(task, view, plane, kernel.strip, 0) if x in task.covered else {}
    tile, absorbed = RegisterTile(2, LANES), parameters_of(task)
    return limited(Kernel(name, kernel.emit, packed, (w, b), tile, reads, kernel.scratch, absorbed), task)


@dataclass(frozen=True)
class DepthwiseVectors:
    """The loops of a depthwise convolution: blocks of channels, strips of rows, then rows or columns."""

    plane: Plane
    view: View
    channels: int
    zero_point: int

    @property
    def block(self) -> int:
        """The bytes of a pixel in scratch."""
        return LANES if self.channels <= LANES else BLOCK

    @property
    def taps(self) -> Taps:
        window = self.plane.window
        return Taps(window.kernel[0], window.kernel[1], self.block * window.dilations[1])

    @property
    def width(self) -> int:
        """The columns in scratch: all that windows reach."""
        window = self.plane.window
        return (self.plane.out[1] - 1) * window.strides[1] + window.extent[1]

    @property
    def row(self) -> int:
        return self.width * self.block

    @property
    def strip(self) -> int:
        """Rows of the result in a strip."""
        window = self.plane.window
        most = (STRIP_BYTES // self.row - window.extent[0]) // window.strides[0] + 1
        return balanced(self.plane.out[0], max(1, most))

    def rows_for(self, strip: int) -> int:
        """Rows of the input that so many rows of the result need."""
        return (strip - 1) * self.plane.window.strides[0] + self.plane.window.extent[0]

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {"rows": Scratch("int8", self.rows_for(self.strip) * self.row)}

    def emit(self, frame: Frame) -> None:
        x, y = self.view(frame.tensors[frame.task.inputs[0]]), self.view(frame.out)
        assert x is not None and y is not None
        self.fill(frame, 0, self.rows_for(self.strip) * self.width)
        with loop("n", 0, x.shape[0]) as n:
            for start, count, size in runs(self.channels, BLOCK):
                with loop("block", 0, count) as block:
                    for top, strips, rows in runs(self.plane.out[0], self.strip):
                        with loop("strip", 0, strips) as strip:
                            at = n, start + block * size, top + strip * rows
                            self.gather(frame, x, at, size, self.rows_for(rows))
                            self.emit_strip(frame, y, at, size, rows)

    def fill(self, frame: Frame, first: Expr, columns: Expr) -> None:
        """Pixels of padding, from one on."""
        target = frame.scratch["rows"].at(first * self.block)
        COPY_COLUMNS["int8"].run(target, frame.packed["padding"].at(0), columns, self.block, self.block, 0)

    def gather(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr, Expr], channels: int, rows: int) -> None:
        """The rows that a strip needs, of some channels; columns of padding are there before, and stay."""
        n, channel, first = at
        window, (height, width) = self.plane.window, self.plane.size
        left = window.pads[1]
        columns = min(width, self.width - left)
        piece = channels if x.strides[1] == 1 else 1
        with loop("line", 0, rows) as line:
            row = first * window.strides[0] + line - window.pads[0]
            inside = tirx.all(row >= 0, row < height) if self.plane.interior(0) != (0, self.plane.out[0]) else True
            with when(inside), loop("c", 0, channels // piece) as c:
                target = frame.scratch["rows"].at(line * self.row + left * self.block + c)
                shape = columns, piece, self.block, x.strides[3]
                if piece == self.block == x.strides[3]:  # one run
                    shape = 1, columns * piece, 0, 0
                COPY_COLUMNS["int8"].run(target, x.at(n, channel + c, row, 0), *shape)
            if inside is not True:
                with when(tirx.Not(inside)):
                    self.fill(frame, line * self.width, self.width)

    def emit_strip(self, frame: Frame, y: Tensor, at: tuple[Expr, Expr, Expr], channels: int, rows: int) -> None:
        """Eight channels after the other, by columns or by rows, whichever are longer."""
        n, channel, first = at
        window, width = self.plane.window, self.plane.out[1]
        down, across = window.strides[0] * self.row, window.strides[1] * self.block
        routine, pitch = mve_depthwise.depthwise_vectors(self.taps), window.dilations[0] * self.row
        for start in range(0, channels, LANES):
            size = min(LANES, channels - start)
            weights = frame.packed["weight"].at(tirx.floordiv(channel + start, LANES) * self.taps.words)
            if rows > width:
                with loop("x", 0, width) as column:
                    source, result = column * across, y.at(n, channel + start, first, column)
                    routine.run(
                        frame.scratch["rows"].at(source + start), weights, result, pitch, down, y.strides[2], rows, size
                    )
            else:
                with loop("line", 0, rows) as line:
                    source, result = line * down, y.at(n, channel + start, first + line, 0)
                    routine.run(
                        frame.scratch["rows"].at(source + start),
                        weights,
                        result,
                        pitch,
                        across,
                        y.strides[3],
                        width,
                        size,
                    )
