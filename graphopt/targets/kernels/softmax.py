"""Softmax in three sweeps: the maximum, the sum of exponentials, which the result holds, and the division.

The result may be the operand itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from tvm import tirx

from graphopt.ops import Softmax
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule, physical_loops
from graphopt.targets.kernels.rows import Row
from graphopt.targets.scalars import constant
from graphopt.targets.scalars_functions import low_exp
from graphopt.targets.schedule import channel_segments
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Locals, Point, at_least, loop

LOWEST = float("-inf")
LEAST_NORMAL = -87.0
"""exp of this is a normal float32, and less than a part in 10^37 of a sum of weights."""


def weight(x: Expr, target: Target) -> Expr:
    """exp(x) of what is not above 0; in vectors of float32, 0 where that were no normal number.

    x86 is slow to make those, and behind a mask there are many of them.
    """
    if target.codegen != "llvm" or not str(x.ty).startswith("float32"):
        return low_exp(x, target)
    least = constant(LEAST_NORMAL, x)
    return tirx.Select(x < least, constant(0.0, x), low_exp(at_least(x, least), target))


def sweeps(task: Task[Softmax], across: int | None, lanes: int) -> Kernel:
    """Along the axis one position at a time, in vectors across another axis if there is one."""
    (xv,) = task.inputs
    shape = xv.type.static_shape
    axis = task.op.axis % len(shape)

    def line(frame: Frame, index: list[Expr], width: int) -> None:
        """The softmax of as many lines along the axis as there are lanes."""
        x, out, epilogue = frame.tensors[xv], frame.out, frame.epilogue()

        def at(position: Expr) -> Point:
            return Point((*index[:axis], position, *index[axis + 1 :]), across or 0, width)

        first = x.load(at(0))
        top, total = (Locals(name, 1, x.dtype, width) for name in ("top", "total"))
        top[0] = constant(LOWEST, first)
        with loop("i", 0, shape[axis]) as i:
            top[0] = tirx.max(top[0], x.load(at(i)))
        total[0] = constant(0.0, first)
        with loop("i", 0, shape[axis]) as i:
            out.store(at(i), weight(x.load(at(i)) - top[0], task.target))
            total[0] = total[0] + out.load(at(i))
        with loop("i", 0, shape[axis]) as i:
            out.store(at(i), epilogue(out.load(at(i)) / total[0], at(i)))

    def emit(frame: Frame) -> None:
        index: list[Expr] = [0] * len(shape)
        with ExitStack() as loops:
            for outer in (a for a in physical_loops(shape, frame.out.strides) if a not in (axis, across)):
                index[outer] = loops.enter_context(loop(f"i{outer}", 0, shape[outer]))
            if across is None:
                line(frame, index, 1)
                return
            for segment in channel_segments(shape[across], lanes, 1):
                with loop("block", 0, segment.blocks) as block:
                    index[across] = segment.start + block * segment.lanes
                    line(frame, index, segment.lanes)

    return Kernel("softmax", emit, {})


@kernel_rule(Softmax, strided=True)
def softmax_kernel(task: Task[Softmax]) -> Kernel:
    return sweeps(task, None, 1)


@kernel_rule(Softmax, isa="llvm", strided=True)
def softmax_vectors(task: Task[Softmax]) -> Kernel:
    """In vectors along the axis, if its elements stand side by side; else across the axis whose elements do."""
    (xv,) = task.inputs
    x, shape = task.strided(xv), xv.type.static_shape
    if x.dtype != "float32":
        raise Decline(f"there is no polynomial for {x.dtype}")
    axis = task.op.axis % len(shape)
    beside = [a for a, size in enumerate(shape) if size > 1 and x.strides[a] == 1 == task.out.strides[a]]
    if not beside:
        raise Decline("no axis has its elements side by side in both operand and result")
    if beside[0] != axis:
        return sweeps(task, beside[0], task.target.lanes)
    row = Row.of(shape[axis], task.target.lanes, x.dtype)

    def emit(frame: Frame) -> None:
        x, out, epilogue = frame.tensors[xv], frame.out, frame.epilogue()
        index: list[Expr] = [0] * len(shape)

        def at(position: Expr) -> Point:
            return Point((*index[:axis], position, *index[axis + 1 :]), axis, row.lanes)

        def powers(top: Expr, end: Expr) -> Callable[[Expr], Expr]:
            """``end`` is the vector that overlaps the one before it, as it was before that was written."""

            def write(position: Expr) -> Expr:
                behind = isinstance(position, int) and position % row.lanes
                value = end if behind else x.load(at(position))
                out.store(at(position), weight(value - row.spread(top), task.target))
                return out.load(at(position))

            return write

        with ExitStack() as loops:
            for outer in (a for a in physical_loops(shape, out.strides) if a != axis):
                index[outer] = loops.enter_context(loop(f"i{outer}", 0, shape[outer]))
            top = row.fold(LOWEST, tirx.max, lambda i: x.load(at(i)))
            end = at(row.size - row.lanes)
            factor, last = Locals("factor", 1, row.dtype), Locals("last", 1, row.dtype, row.lanes)
            last[0] = x.load(end)
            total = row.fold(0.0, lambda a, b: a + b, powers(top, last[0]), chains=1)
            factor[0] = tirx.const(1.0, row.dtype) / total
            last[0] = out.load(end)  # before the vector that it overlaps is overwritten
            with loop("i", 0, row.full) as i:
                here = at(i * row.lanes)
                out.store(here, epilogue(out.load(here) * row.spread(factor[0]), here))
            if row.left:
                out.store(end, epilogue(last[0] * row.spread(factor[0]), end))

    return Kernel("softmax", emit, {})
