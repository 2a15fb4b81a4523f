"""Depthwise convolution by one routine, which layers of any sizes share: in the fewest bytes of code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphopt.ir import Array
from graphopt.ops import ConvInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.depthwise_planes import depthwise_planes
from graphopt.targets.instructions.widening import WIDEN_ROWS
from graphopt.targets.kernels.base import Frame, Kernel, Task
from graphopt.targets.kernels.depthwise import DepthwisePairs, depthwise_by_pairs
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.order import result_of
from graphopt.targets.tir import loop

MOST = np.iinfo(np.int16).max
CONSTANTS = "weight", "bias", "scaling", "plane"


class SharedPlanes(DepthwisePairs):
    """One channel after the other, by a routine that has the loops and reads from a table what it is given."""

    @property
    def copied(self) -> Instruction:
        return WIDEN_ROWS["int8"]

    def check(self, task: Task[ConvInteger]) -> None:
        if not self.scales:
            raise Decline("its results are not scaled to int8 by one of its routines")
        if self.source != "int8" or not self.storage.whole:
            raise Decline("its routine reads int8, and weights as they are")
        width, across = self.plane.size[1], self.plane.out[1]
        if (across - self.pixels) * self.plane.window.strides[1] % 2:
            raise Decline("its last tile begins at an odd element")
        if self.row - self.plane.window.pads[1] < width:
            raise Decline("its windows leave columns out")
        for tensor, columns in ((task.strided(task.inputs[0]), width), (result_of(task), across)):
            seen = self.view(tensor)
            pixel, line = self.channels, columns * self.channels
            if seen is None or seen.strides[1:] != (1, line if seen.shape[2] > 1 else seen.strides[2], pixel):
                raise Decline("channels, pixels and rows do not stand side by side")
        if max(map(abs, self.numbers)) > MOST:
            raise Decline(f"a number of it is above {MOST}")

    @property
    def numbers(self) -> tuple[int, ...]:
        """What the routine reads from a table, in its order."""
        (height, width), (down, across), window = self.plane.size, self.plane.out, self.plane.window
        scratch = self.strip, self.row, window.strides[0], *window.pads[:2]
        return self.channels, height, width, down, across, *scratch, self.zero_point

    @property
    def tables(self) -> dict[str, Array]:
        return {"plane": np.array(self.numbers, np.int16)}

    @property
    def loops(self) -> Callable[[Frame], None]:
        return super().emit

    def emit(self, frame: Frame) -> None:
        x, y = self.view(frame.tensors[frame.task.inputs[0]]), self.view(frame.out)
        assert x is not None and y is not None
        constants = (frame.packed[name].at(*[0] * len(frame.packed[name].shape)) for name in CONSTANTS)
        taps, rows = (frame.scratch[name].at(0) for name in ("taps", "rows"))
        *read, table = constants
        with loop("n", 0, x.shape[0]) as n:
            routine = depthwise_planes(self.tile(self.pixels))
            routine.run(x.at(n, 0, 0, 0), *read, taps, rows, y.at(n, 0, 0, 0), table)


def depthwise_by_planes(task: Task[ConvInteger], plane: Plane, weight: Array, bias: Array) -> Kernel:
    """Depthwise convolution with multiplier one, of whole planes; weight is [c, 1, kh, kw]."""
    return depthwise_by_pairs(task, plane, weight, bias, SharedPlanes)
