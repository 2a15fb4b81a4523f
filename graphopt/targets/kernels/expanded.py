"""Windows that are expanded into scratch for the routines of the DSP extension, of two pixels side by side.

What they have in common, and those that are expanded where they stand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op, Value
from graphopt.targets.instructions.products import BLOCK, PIXELS, Form
from graphopt.targets.kernels.base import Frame, Scratch, Task, View
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.order import pixel_reads
from graphopt.targets.kernels.windows import Compute, Position, Tile
from graphopt.targets.plan import Overlap
from graphopt.targets.tir import Expr, Tensor, loop

WORDS = 2
"""Of a block of expanded elements, where windows have several taps."""


def padding_words(form: Form, zero_point: int) -> list[int]:
    """A block of padding."""
    return [int(word) for word in form.of(np.full(BLOCK, zero_point, np.int8))[0]]


@dataclass(frozen=True)
class ExpandedWindows(ABC):
    """Windows over a plane of an input x [n, c, h, w], expanded for pixels side by side; padding is the zero point."""

    plane: Plane
    channels: int
    strides: tuple[int, ...]
    zero_point: int
    form: Form

    @property
    def pixels(self) -> int:
        return 1 if self.plane.out == (1, 1) else PIXELS

    @property
    def depth(self) -> int:
        return int(np.prod(self.plane.window.kernel)) * self.channels

    @property
    def blocks(self) -> int:
        """Of a window."""
        return -(-self.depth // BLOCK)

    def in_order(self, weight: Array) -> Array:
        return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {"window": Scratch("int32", self.blocks * self.form.words * self.pixels)}

    @property
    def packed(self) -> Mapping[str, Array]:
        return {}

    @property
    def effort(self) -> float:
        return 0

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        return pixel_reads(task, self.plane, view, self.pixels)

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        return {}

    @abstractmethod
    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        """Loop over all pixels of a sample."""


class SeparateWindows(ExpandedWindows):
    """Windows that are expanded each for itself, of pixels in the order of the rows."""

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        self.prepare(frame)
        total, window = self.plane.out[0] * self.plane.out[1], frame.scratch["window"].at(0)
        with loop("tile", 0, total // self.pixels) as tile:

            def position(slot: Expr) -> Position:
                return self.position(tile * self.pixels + slot)

            self.expand(frame, [self.source(frame, x, n, position(slot), slot) for slot in range(self.pixels)])
            compute(Tile(self.pixels, position, window))
        if total % self.pixels:
            last = self.position(total - 1)
            self.expand(frame, [self.source(frame, x, n, last, 0)] * self.pixels)
            compute(Tile(1, lambda _: last, window))

    def position(self, pixel: Expr) -> Position:
        width = self.plane.out[1]
        return tirx.floordiv(pixel, width), tirx.floormod(pixel, width)

    def prepare(self, frame: Frame) -> None:
        """Set what no window writes but the routines read."""

    @abstractmethod
    def source(self, frame: Frame, x: Tensor, n: Expr, at: Position, slot: int) -> Expr:
        """A pointer to the elements of a window, of which ``slot`` are before it; they are gathered if they must be."""

    def expand(self, frame: Frame, sources: list[Expr]) -> None:
        window = frame.scratch["window"].at(0)
        self.form.elements[self.pixels].run(window, *sources, self.blocks)


class StandingWindows(SeparateWindows):
    """Single taps of whole blocks, which are expanded where they stand."""

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        """The only window may lie over the operand: a word is read, then all words of its block are written.

        The last word is read where the last of these is written, and those before it further above.
        """
        alone = self.plane.size == self.plane.out == (1, 1) and self.strides[1] == 1
        x = task.inputs[0]
        if not alone or x in task.region.epilogue_operands or x.type.nbytes != self.depth:
            return {}
        return {"window": {x: Overlap((self.form.words - 1) * self.depth)}}

    def source(self, frame: Frame, x: Tensor, n: Expr, at: Position, slot: int) -> Expr:
        return x.at(n, 0, *(self.plane.source(axis, at[axis], 0) for axis in (0, 1)))


EXPANDED_BARE = 5
"""The instructions of a block that is expanded once more."""


class BareWindow(StandingWindows):
    """A single window, whose elements are expanded within the routine: for each group of channels, without scratch."""

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {}

    @property
    def effort(self) -> float:
        """Of one group of channels."""
        return EXPANDED_BARE * self.blocks

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        """It is read until the last group is written."""
        return {}

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        return {}

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        at = self.position(0)
        compute(Tile(1, lambda _: at, self.source(frame, x, n, at, 0)))
