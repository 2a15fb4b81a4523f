"""Windows of pixels, as the routines take them that sum their products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from graphopt.ir import Array, Op, Value
from graphopt.targets.kernels.base import Frame, Scratch, Task, View
from graphopt.targets.plan import Overlap
from graphopt.targets.tir import Expr, Tensor

Position = tuple[Expr, Expr]


@dataclass(frozen=True)
class Tile:
    """So many pixels, where each is, a pointer to the window of the first, and the bytes from one to the next."""

    pixels: int
    at: Callable[[Expr], Position]
    window: Expr
    step: int = 0


Compute = Callable[[Tile], None]
"""What is done with some pixels whose windows are ready."""


class Windows(Protocol):
    """The windows of a plane, as routines take them; ``pixels`` at once, or a multiple, where so many are left."""

    @property
    def pixels(self) -> int: ...

    def in_order(self, weight: Array) -> Array:
        """Weights [o, c, kh, kw] as [o, depth], in the order of a window."""

    @property
    def scratch(self) -> Mapping[str, Scratch]: ...

    @property
    def effort(self) -> float:
        """About the instructions that bring all windows into place, of windows that have other forms."""

    @property
    def packed(self) -> Mapping[str, Array]:
        """Constants that are read where windows are gathered."""

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        """In which order the operand is read against the writes of the result.

        ``last`` channels are written at last, after windows were read again; None if windows are read before all
        writes, of up to ``most`` pixels.
        """

    def over(self, task: Task[Op]) -> Mapping[str, Mapping[Value, Overlap]]:
        """Which scratch may lie over the operand, as ``Kernel.over`` has it."""

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        """Loop over all pixels of a sample, up to ``most`` at once."""
