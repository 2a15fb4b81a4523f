"""What the products of an instruction set are made of: routines, the loops that call them, and forms of windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from graphopt.ir import Array, Op
from graphopt.ops import ConvInteger, StoredForm
from graphopt.rewrite import Decline
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.kernels.base import Kernel, Task, View
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.mve_windows import ColumnWindows
from graphopt.targets.kernels.scaling import narrowing_of, shifted_up
from graphopt.targets.kernels.windows import Windows

if TYPE_CHECKING:
    from graphopt.targets.kernels.product_loops import ProductsConv


@dataclass(frozen=True)
class Codes:
    """Weights in few bits: a routine unpacks groups of channels into a stream, and may write so many words ``beyond``.

    ``pack`` gives codes and numbers, a row for each group, from weights, bias, scaling and the channels of a group.
    """

    unpack: Instruction
    pack: Callable[[Array, Array, Array, int], tuple[Array, Array]]
    beyond: int


@dataclass(frozen=True)
class ProductSet:
    """The products of an instruction set.

    ``routines`` are found by whether they take one pixel, and whether they scale; ``loops`` call them. Sums are shifted
    up by ``bits``. ``windows`` gives their forms, at first the fastest. Where each channel is convolved by itself,
    ``depthwise`` gives the kernel; where windows have few channels, ``planar``, and where pixels alone do, ``narrow``,
    if that does not decline. ``codes`` unpack weights that are stored in fewer bits. ``of_bytes`` are the products of
    elements without a sign. An ``offset`` is added to elements as windows are gathered.
    """

    routines: Mapping[tuple[bool, bool], Instruction]
    loops: Callable[..., ProductsConv]
    windows: Callable[[Plane, int, tuple[int, ...], int], Sequence[Windows]]
    stream: Callable[[Array, Array, Array, int], Array]
    depthwise: Callable[[Task[ConvInteger], Plane, Array, Array], Kernel]
    planar: Callable[[Task[ConvInteger], str, Plane, Array], Kernel] | None = None
    narrow: Callable[[Task[Op], str, Plane, Array, View], Kernel] | None = None
    bits: int = 0
    least_weight: int = -128
    codes: Mapping[StoredForm, Codes] = field(default_factory=dict)
    of_bytes: ProductSet | None = None
    offset: int = 0

    def of(self, dtype: str) -> ProductSet:
        """The products of elements of a dtype; raises ``Decline`` where there are none."""
        found = {"int8": self, "uint8": self.of_bytes}.get(dtype)
        if found is None:
            raise Decline(f"it takes no {dtype}")
        return found

    def windows_of(
        self, form: StoredForm | None, plane: Plane, depth: int, strides: tuple[int, ...], zero_point: int
    ) -> Sequence[Windows]:
        """The forms of windows for weights that are stored so: those of one bit have no 0 to fill up a block."""
        found = self.windows(plane, depth, strides, zero_point)
        if form is not StoredForm.BITS:
            return found
        return [replace(one, block=1) if isinstance(one, ColumnWindows) else one for one in found]

    def check_sums(self, bounds: Array) -> None:
        """Raise ``Decline`` unless all sums, of these least and greatest ones, stay exact when they are shifted up."""
        if bounds.size and max(-bounds.min(), bounds.max()) >= 1 << 31 - self.bits:
            raise Decline(f"its sums may need more than {32 - self.bits} bits")

    def scaled_sums(self, task: Task[Op], bounds: Array) -> Array | None:
        """The scaling of the sums as routines have them, shifted up; None where they do not scale."""
        scaling = narrowing_of(task, len(bounds))
        try:
            return None if scaling is None else shifted_up(scaling, bounds, self.bits)
        except Decline:
            return None
