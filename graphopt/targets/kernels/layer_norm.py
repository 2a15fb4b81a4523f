"""Layer norm: mean and variance of a row in two sweeps, the result in a third."""

from __future__ import annotations

import math
from contextlib import ExitStack
from operator import add

from tvm import tirx

from graphopt.ops import LayerNorm
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.nest import Index, reduced
from graphopt.targets.kernels.order import result_of
from graphopt.targets.kernels.rows import Row, as_one, merging, side_by_side
from graphopt.targets.tir import Expr, Locals, Point, loop


def divisor(op: LayerNorm, dtype: str, squares: Expr, count: int) -> Expr:
    """The square root of the variance and epsilon."""
    return tirx.sqrt(squares * tirx.const(1 / count, dtype) + tirx.const(op.epsilon, dtype))


@kernel_rule(LayerNorm, strided=True)
def layer_norm_nest(task: Task[LayerNorm]) -> Kernel:
    """One element at a time, in any layout."""
    shape, inner = (v.type.static_shape for v in task.inputs[:2])
    outer, dtype = len(shape) - len(inner), task.result.type.dtype

    def emit(frame: Frame) -> None:
        x, scale, bias = (frame.tensors[v] for v in task.inputs)
        epilogue = frame.epilogue()
        mean, root = Locals("mean", 1, dtype), Locals("root", 1, dtype)
        with ExitStack() as loops:
            lead = tuple(loops.enter_context(loop(f"i{a}", 0, n)) for a, n in enumerate(shape[:outer]))

            def centred(r: Index) -> Expr:
                return x.load(Point((*lead, *r))) - mean[0]

            def square(acc: Expr, r: Index) -> Expr:
                c = Locals("c", 1, dtype)
                c[0] = centred(r)
                return acc + c[0] * c[0]

            zero, count = tirx.const(0, dtype), math.prod(inner)
            total = reduced(dtype, zero, inner, lambda acc, r: acc + x.load(Point((*lead, *r))))
            mean[0] = total * tirx.const(1 / count, dtype)
            root[0] = divisor(task.op, dtype, reduced(dtype, zero, inner, square), count)
            r = tuple(loops.enter_context(loop(f"r{a}", 0, n)) for a, n in enumerate(inner))
            at = Point((*lead, *r))
            y = centred(r) / root[0] * scale.load(Point(r)) + bias.load(Point(r))
            frame.out.store(at, epilogue(y, at))

    return Kernel("layer_norm", emit, {})


@kernel_rule(LayerNorm, isa="llvm", strided=True)
def layer_norm_rows(task: Task[LayerNorm]) -> Kernel:
    """In vectors along a row, if its elements stand side by side in all operands and the result."""
    xv, sv, bv = task.inputs
    rank, inner, dtype = xv.type.rank, sv.type.rank, xv.type.dtype
    axes = tuple(range(rank - inner, rank))
    view = merging([*([a] for a in range(rank - inner)), axes])
    sides = [task.strided(v) for v in task.region.epilogue_operands]
    whole = [task.strided(xv), result_of(task), *(t.broadcast(xv.type.static_shape) for t in sides)]
    if not all(side_by_side(t, axes) for t in whole[:2]) or not all(as_one(t, axes) for t in whole[2:]):
        raise Decline("the elements of a row do not stand side by side")
    row = Row.of(math.prod(sv.type.static_shape), task.target.lanes, dtype)

    def emit(frame: Frame) -> None:
        x, epilogue = view(frame.tensors[xv]), frame.epilogue(view)
        scale, bias = (merging([range(inner)])(frame.tensors[v]) for v in (sv, bv))
        out = view(frame.out)
        mean, factor = Locals("mean", 1, dtype), Locals("factor", 1, dtype)
        with ExitStack() as loops:
            lead = [loops.enter_context(loop(f"i{a}", 0, n)) for a, n in enumerate(x.shape[:-1])]

            def at(position: Expr) -> Point:
                return Point((*lead, position), len(lead), row.lanes)

            def centred(position: Expr) -> Expr:
                return x.load(at(position)) - row.spread(mean[0])

            def square(position: Expr) -> Expr:
                c = Locals("c", 1, dtype, row.lanes)
                c[0] = centred(position)
                return c[0] * c[0]

            def store(position: Expr) -> None:
                side = Point((position,), 0, row.lanes)
                y = centred(position) * row.spread(factor[0]) * scale.load(side) + bias.load(side)
                out.store(at(position), epilogue(y, at(position)))

            mean[0] = row.fold(0.0, add, lambda i: x.load(at(i))) * tirx.const(1 / row.size, dtype)
            factor[0] = tirx.const(1.0, dtype) / divisor(task.op, dtype, row.fold(0.0, add, square), row.size)
            row.each(store)

    return Kernel("layer_norm", emit, {})
