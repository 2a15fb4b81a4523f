"""Pointwise convolution of few channels on cores with DSP: runs of pixels are widened, and then channels go over them.

Where a pixel has few products, loading and storing pointers, weights and scaling takes longer than these. So a channel
of the result keeps its own in registers for a whole run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, Op
from graphopt.rewrite import Decline
from graphopt.targets.instructions.dsp_narrow import MOST_BLOCKS, MOST_DISTANCE, MOST_PIXELS, Turn, narrow_routine
from graphopt.targets.instructions.products import BLOCK, WIDE
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, View
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.order import by_pixels, pixel_reads, result_of
from graphopt.targets.kernels.quantized import prove_no_overflow, zero_point_of
from graphopt.targets.kernels.scaling import OneShift, limited, one_shift, parameters_of, scaling_of
from graphopt.targets.schedule import RegisterTile, even, runs
from graphopt.targets.tir import loop

MOST_BYTES = 1024
"""Of widened elements."""
LEAST_PIXELS = 8


def narrow_by_pairs(task: Task[Op], name: str, plane: Plane, weight: Array, view: View) -> Kernel:
    """The kernel of a pointwise convolution over a row [n, c, 1, pixels] of samples; weight is [o, c]."""
    x, w, b = task.inputs
    outputs, channels = weight.shape
    scaling = scaling_of(task, outputs)
    if scaling is None or b.constant is None:
        raise Decline("its results are not scaled to int8")
    if channels % BLOCK or channels > MOST_BLOCKS * BLOCK:
        raise Decline(f"it takes whole blocks of {BLOCK} channels, {MOST_BLOCKS} at most")
    if plane.out[1] < LEAST_PIXELS or outputs * MOST_PIXELS > MOST_DISTANCE:
        raise Decline("it has few pixels, or too many channels of the result")
    if not by_pixels(view(task.strided(x))) or not by_pixels(view(result_of(task))):
        raise Decline("channels do not stand side by side, or there are several samples")
    prove_no_overflow(task.op, weight, b.constant, x.type.dtype, task.region.node.name)
    bias = b.constant - zero_point_of(task.op) * weight.sum(axis=1, dtype=np.int64)
    shared = one_shift(task, scaling)
    if shared is not None:
        weight, bias = weight.astype(np.int64) << shared.up[:, None], bias << shared.up
        scaling = shared.numbers[:, :2]
    kernel = NarrowProducts(plane.out[1], channels // BLOCK, outputs, view, OneShift.of(shared))
    packed = {"weight": WIDE.stream(weight, bias, scaling.astype(np.int32), 1)}
    scratch = {"pixels": Scratch("int32", kernel.run * 2 * kernel.blocks)}
    reads = pixel_reads(task, plane, view, kernel.run) if x in task.covered else {}
    tile = RegisterTile(kernel.turn.pixels, 1)
    return limited(Kernel(name, kernel.emit, packed, (w, b), tile, reads, scratch, parameters_of(task)), task)


@dataclass(frozen=True)
class NarrowProducts:
    """Runs of pixels, then channels within the routine."""

    pixels: int
    blocks: int
    channels: int
    view: View
    shift: int | None
    """Of all channels, if they have one."""

    @property
    def run(self) -> int:
        return even(self.pixels, min(self.pixels, MOST_BYTES // (8 * self.blocks)))

    @property
    def turn(self) -> Turn:
        """As many pixels at once as divide all runs."""
        sizes = [size for _, _, size in runs(self.pixels, self.run)]
        dividing = [n for n in range(1, MOST_PIXELS + 1) if all(size % n == 0 for size in sizes)]
        return Turn(self.blocks, dividing[-1], self.channels, self.shift)

    def emit(self, frame: Frame) -> None:
        x, y = self.view(frame.tensors[frame.task.inputs[0]]), self.view(frame.out)
        assert x is not None and y is not None
        widened, turn = frame.scratch["pixels"].at(0), self.turn
        for start, count, size in runs(self.pixels, self.run):
            with loop("run", 0, count) as i:
                first = start + i * size
                WIDE.elements[1].run(widened, x.at(0, 0, 0, first), size * self.blocks)
                weights, result = frame.packed["weight"].at(0), y.at(0, 0, 0, first)
                narrow_routine(turn).run(widened, weights, result, size // turn.pixels, self.channels)
