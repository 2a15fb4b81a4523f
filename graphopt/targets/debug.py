"""How the kernel of each node was chosen: for ``compile --explain``, and told on stderr from ``GRAPHOPT_DEBUG=2``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from graphopt.errors import printable
from graphopt.ir import Op
from graphopt.passes import debug
from graphopt.targets.kernels.base import Kernel, Task
from graphopt.targets.layout import Layout, channels_last
from graphopt.targets.lookup import RuleChoice
from graphopt.targets.schedule import RegisterTile


@dataclass(frozen=True)
class Chosen:
    """Which rule made a kernel and for which instruction set, over what tile, in what layout.

    ``others`` has the notes of the kernel, the rules of its scalars, where these are for one instruction set or code
    generator, and which rules declined, each with its reason.
    """

    rule: str
    tile: str
    layout: str
    others: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(part for part in (self.rule, self.tile, self.layout) if part)


def chosen(task: Task[Op], choice: RuleChoice[Kernel], scalars: Sequence[tuple[str, RuleChoice[None]]]) -> Chosen:
    """How a kernel was chosen, in words; ``scalars`` are the rules of its operators on scalars, by operator."""
    kernel = choice.result
    assert kernel is not None
    others = [*kernel.notes, *(str(gone) for gone in choice.declined)]
    for name, scalar in scalars:
        others += [f"{name} by {scalar}"] if scalar.isa else []
        others += [str(gone) for gone in scalar.declined]
    return Chosen(str(choice), tile_text(kernel.tile), layout_text(task.out), tuple(others))


def tell_kernel(node: str, kernel: str, how: Chosen) -> None:
    """Tell of the kernel of one node."""
    if debug.level() < 2:
        return
    for line in (f"kernel of {node}: {kernel} by {how}", *(f"  {other}" for other in how.others)):
        print(f"graphopt: {printable(line)}", file=sys.stderr)


def tile_text(tile: RegisterTile | None) -> str:
    return f"tile of {tile.pixels} x {tile.vectors} (pixels x vectors)" if tile else ""


def layout_text(layout: Layout) -> str:
    within = "" if layout.dense else ", within a larger value"
    if layout.is_row_major:
        return "row-major" + within
    last = layout.order == channels_last(layout.shape).order
    return ("channels-last" if last else f"axes in order {layout.order}") + within
