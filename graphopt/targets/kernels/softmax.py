"""Softmax in three sweeps: the maximum, the sum of exponentials, which the result holds, and the division."""

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
from graphopt.targets.tir import Expr, Locals, Point, loop

LOWEST = float("-inf")


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
            out.store(at(i), low_exp(x.load(at(i)) - top[0], task.target))
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

        def powers(top: Expr) -> Callable[[Expr], Expr]:
            def write(position: Expr) -> Expr:
                out.store(at(position), low_exp(x.load(at(position)) - row.spread(top), task.target))
                return out.load(at(position))

            return write

        with ExitStack() as loops:
            for outer in (a for a in physical_loops(shape, out.strides) if a != axis):
                index[outer] = loops.enter_context(loop(f"i{outer}", 0, shape[outer]))
            top = row.fold(LOWEST, tirx.max, lambda i: x.load(at(i)))
            total = row.fold(0.0, lambda a, b: a + b, powers(top), chains=1)
            factor, last = Locals("factor", 1, row.dtype), Locals("last", 1, row.dtype, row.lanes)
            factor[0] = tirx.const(1.0, row.dtype) / total
            end = at(row.size - row.lanes)
            last[0] = out.load(end)  # before the vector that it overlaps is overwritten
            with loop("i", 0, row.full) as i:
                here = at(i * row.lanes)
                out.store(here, epilogue(out.load(here) * row.spread(factor[0]), here))
            if row.left:
                out.store(end, epilogue(last[0] * row.spread(factor[0]), end))

    return Kernel("softmax", emit, {})
