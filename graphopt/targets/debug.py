"""Reports of the lowering on stderr for ``GRAPHOPT_DEBUG``, from level 2 on: how each kernel was chosen."""

from __future__ import annotations

import sys

from graphopt.errors import printable
from graphopt.ir import Op
from graphopt.ir.registry import place
from graphopt.passes import debug
from graphopt.targets.kernels.base import Kernel, KernelRule, Task
from graphopt.targets.layout import Layout, channels_last


def tell_kernel(node: str, task: Task[Op], rule: KernelRule[Op], isa: str | None, kernel: Kernel) -> None:
    """Report the kernel of one node: its rule, the rule's instruction set, register tile and layout."""
    if debug.level() < 2:
        return
    tile = f", tile of {kernel.tile.pixels} x {kernel.tile.vectors} (pixels x vectors)" if kernel.tile else ""
    found = f"{kernel.name} by {place(rule)} for {isa or 'all instruction sets'}"
    print(f"graphopt: kernel of {printable(f'{node}: {found}')}{tile}, {named(task.out)}", file=sys.stderr)


def named(layout: Layout) -> str:
    if layout.is_row_major:
        return "row-major"
    return "channels-last" if layout == channels_last(layout.shape) else f"axes in order {layout.order}"
