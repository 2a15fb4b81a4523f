"""Several vectors go through an epilogue at once where elementary functions are in it.

An elementary function is a long chain of operations that wait for each other, and a processor looks too few of them
ahead to begin that of the next vector. LLVM splits operations on wider vectors than the target has into one for each
register: so the chains of several vectors stand side by side, and a processor has always one to go on with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from graphopt.ir import Op
from graphopt.targets.kernels.base import Task
from graphopt.targets.scalars import SCALARS
from graphopt.targets.tir import Expr, Locals, Places, Point, Points, joined

AT_ONCE = {4: 4, 8: 8, 16: 4}
"""Vectors whose operations interleave, by lanes."""


def has_functions(task: Task[Op]) -> bool:
    """Whether elementary functions are in an epilogue."""
    return any((type(node.op), "llvm") in SCALARS for node in task.region.epilogue)


def at_once(task: Task[Op]) -> int:
    """How many vectors a kernel gives to its epilogue at once."""
    return AT_ONCE.get(task.target.lanes, 1) if has_functions(task) and task.target.codegen == "llvm" else 1


def finish(
    sums: Sequence[tuple[Expr, Point]],
    most: int,
    epilogue: Callable[[Expr, Places], Expr],
    store: Callable[[Point, Expr], None],
) -> None:
    """Vectors at their points through an epilogue, so many at once, to be stored."""
    for _, alike in itertools.groupby(sums, lambda one: one[1].lanes):
        ready = list(alike)
        for start in range(0, len(ready), most):
            values, points = zip(*ready[start : start + most], strict=True)
            if len(points) == 1:
                store(points[0], epilogue(values[0], points[0]))
                continue
            group = Points(points)
            result = epilogue(joined(values), group)
            kept = Locals("result", 1, str(result.ty).partition("x")[0], group.lanes)
            kept[0] = result
            for i, point in enumerate(points):
                store(point, group.part(kept[0], i))
