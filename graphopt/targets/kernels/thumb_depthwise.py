"""Depthwise convolution of int8 by one product after the other, for Thumb without a DSP extension.

Rows of one channel are in scratch as unsigned bytes, with their padding; a routine sums the taps of pixels side by
side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array
from graphopt.ops import ConvInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.thumb_depthwise import (
    MOST_REACH,
    MOST_TAPS,
    Tile,
    depthwise_routine,
)
from graphopt.targets.instructions.thumb_rows import OFFSET, UNSIGNED_ROWS
from graphopt.targets.kernels.base import Frame, Kernel, Task, View, fitting
from graphopt.targets.kernels.depthwise_strips import DepthwiseStrips, in_strips
from graphopt.targets.kernels.geometry import Plane, as_plane, as_swapped, plane_window, swapped
from graphopt.targets.kernels.order import strip_reads
from graphopt.targets.kernels.quantized import zero_point_of
from graphopt.targets.kernels.scaling import limited, parameters_of, scaling_of
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Expr, Point, loop
from graphopt.targets.weights import Storage, WeightPlace, storage_of


def depthwise_by_elements(task: Task[ConvInteger], plane: Plane, weight: Array, bias: Array) -> Kernel:
    """Depthwise convolution with multiplier one; weight is [c, 1, kh, kw]."""
    x, w, b = task.inputs
    storage = storage_of(w)
    if storage.by_channel:
        raise Decline("its weights have factors of groups")
    if x.type.dtype not in UNSIGNED_ROWS:
        raise Decline("it takes elements of 8 bits")
    scaling = scaling_of(task, len(weight))
    if scaling is None:
        raise Decline("its results are not scaled to int8")
    view: View = as_plane
    if plane.window.kernel[1] == 1:
        plane, weight, view = swapped(plane), weight.transpose(0, 1, 3, 2), as_swapped
    if plane.window.dilations[1] != 1:
        raise Decline("its taps do not stand side by side")
    zero_point = zero_point_of(task.op) + (OFFSET if x.type.dtype == "int8" else 0)
    whole = DepthwiseElements(plane, view, zero_point, storage, channels=len(weight), source=x.type.dtype)
    kernel, forms = fitting(task, in_strips([whole]))
    if weight[0].size > MOST_TAPS or kernel.tile(kernel.pixels).reach > MOST_REACH:
        raise Decline("its windows have too many taps, or are too far apart")
    numbers = {
        "bias": bias - zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64),
        "scaling": scaling,
    }
    packed = {**storage.pack(weight), **{name: data.astype(np.int32) for name, data in numbers.items()}}
    name = "depthwise_{}x{}".format(*plane_window(task.op.window(w.type)).kernel)
    reads = strip_reads(task, view, plane, kernel.strip, kernel.overlap) if x in task.covered else {}
    tile, parameters = RegisterTile(kernel.pixels, 1), parameters_of(task)
    made = Kernel(name, kernel.emit, packed, (w, b), tile, reads, kernel.scratch, parameters, forms=forms)
    return limited(made, task)


@dataclass(frozen=True)
class DepthwiseElements(DepthwiseStrips):
    """By unsigned elements, one product after the other."""

    storage: Storage

    def tile(self, pixels: int) -> Tile:
        window = self.plane.window
        rows, columns = window.kernel
        return Tile(rows, columns, window.strides[1], pixels)

    @property
    def row(self) -> int:
        return self.tile(self.plane.out[1]).reach

    @property
    def words(self) -> int:
        return self.tile(1).taps + 4

    @property
    def copied(self) -> Instruction:
        return UNSIGNED_ROWS[self.source]

    def routine(self, pixels: int) -> Instruction:
        return depthwise_routine(self.tile(pixels))

    def gather_taps(self, frame: Frame, c: Expr, place: Expr) -> None:
        count, taps = self.tile(1).taps, frame.scratch["taps"]
        taps.store(Point((place,)), frame.packed["bias"].load(Point((c,))))
        with loop("tap", 0, count) as tap:
            weight = self.storage.load(frame.packed, WeightPlace(c * count + tap), "int32", frame.task.target.codegen)
            taps.store(Point((place + 1 + tap,)), weight)
        for i in range(3):
            taps.store(Point((place + count + 1 + i,)), frame.packed["scaling"].load(Point((c, i))))
