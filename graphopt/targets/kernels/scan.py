"""Kernels that walk along one axis: arg-reductions, running totals, the order of the largest elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tvm import tirx

from graphopt.ops import ArgMax, ArgMin, CumProd, CumSum, TopKIndices
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.tir import Expr, Locals, Point, Tensor, is_float, loop, when


@contextmanager
def lines(x: Tensor, axis: int) -> Iterator[Callable[[Expr], tuple[Expr, ...]]]:
    """Loops over all lines along an axis; yields a function from a position on the line to its index."""
    index: list[Expr] = [0] * len(x.shape)
    with ExitStack() as loops:
        for other in (a for a in range(len(x.shape)) if a != axis):
            index[other] = loops.enter_context(loop(f"i{other}", 0, x.shape[other]))
        yield lambda position: (*index[:axis], position, *index[axis + 1 :])


def exceeds(a: Expr, b: Expr) -> Expr:
    """a > b, where NaN is greater than every number, as in numpy's sort order."""
    return tirx.Or(a > b, tirx.And(tirx.isnan(a), tirx.Not(tirx.isnan(b)))) if is_float(a) else a > b


def same(a: Expr, b: Expr) -> Expr:
    """Whether neither of the two exceeds the other."""
    return tirx.Or(tirx.EQ(a, b), tirx.And(tirx.isnan(a), tirx.isnan(b))) if is_float(a) else tirx.EQ(a, b)


def extreme(op: ArgMax | ArgMin, a: Expr, b: Expr) -> Expr:
    """Whether a replaces an earlier b; NaN replaces every number, and an equal element does if the last one counts."""
    kinds = (tirx.GT, tirx.GE) if isinstance(op, ArgMax) else (tirx.LT, tirx.LE)
    beyond = kinds[op.last](a, b)
    if not is_float(a):
        return beyond
    return tirx.Or(beyond, tirx.isnan(a) if op.last else tirx.And(tirx.isnan(a), tirx.Not(tirx.isnan(b))))


@kernel_rule(ArgMax, ArgMin, strided=True)
def arg_kernel(task: Task[ArgMax | ArgMin]) -> Kernel:
    (xv,), op = task.inputs, task.op

    def emit(frame: Frame) -> None:
        x, epilogue = frame.tensors[xv], frame.epilogue()
        with lines(x, op.axis) as at:
            best, where = Locals("best", 1, x.dtype), Locals("where", 1, "int64")
            best[0] = x.load(Point(at(0)))
            where[0] = tirx.const(0, "int64")
            with loop("i", 1, x.shape[op.axis]) as i:
                element = x.load(Point(at(i)))
                with when(extreme(op, element, best[0])):
                    best[0] = element
                    where[0] = tirx.Cast("int64", i)
            full = at(0)
            target = Point(full if op.keepdims else (*full[: op.axis], *full[op.axis + 1 :]))
            frame.out.store(target, epilogue(where[0], target))

    return Kernel(op.name, emit, {})


@kernel_rule(CumSum, CumProd, strided=True)
def cumulative_kernel(task: Task[CumSum | CumProd]) -> Kernel:
    (xv,), op = task.inputs, task.op

    def combine(a: Expr, b: Expr) -> Expr:
        return a + b if isinstance(op, CumSum) else a * b

    def emit(frame: Frame) -> None:
        x, epilogue = frame.tensors[xv], frame.epilogue()
        size = x.shape[op.axis]
        with lines(x, op.axis) as at:
            total = Locals("total", 1, x.dtype)
            total[0] = tirx.const(op.neutral, x.dtype)
            with loop("i", 0, size) as i:
                point = Point(at(size - 1 - i if op.reverse else i))
                if op.exclusive:
                    frame.out.store(point, epilogue(total[0], point))
                    total[0] = combine(total[0], x.load(point))
                else:
                    total[0] = combine(total[0], x.load(point))
                    frame.out.store(point, epilogue(total[0], point))

    return Kernel(op.name, emit, {})


@kernel_rule(TopKIndices, strided=True)
def top_k_kernel(task: Task[TopKIndices]) -> Kernel:
    """Selection in k sweeps without extra memory: each finds the best element after the previous one in order."""
    (xv,), op = task.inputs, task.op
    axis = op.axis % xv.type.rank

    def better(a: Expr, b: Expr) -> Expr:
        return exceeds(a, b) if op.largest else exceeds(b, a)

    def emit(frame: Frame) -> None:
        x = frame.tensors[xv]
        with lines(x, axis) as at:
            last, last_at = Locals("last", 1, x.dtype), Locals("last_at", 1, "int32")
            last[0] = x.load(Point(at(0)))
            last_at[0] = tirx.const(-1, "int32")
            with loop("k", 0, op.k) as k:
                best, best_at = Locals("best", 1, x.dtype), Locals("best_at", 1, "int32")
                best[0] = x.load(Point(at(0)))
                best_at[0] = tirx.const(-1, "int32")
                with loop("i", 0, x.shape[axis]) as i:
                    element: Expr = x.load(Point(at(i)))
                    later = tirx.Or(better(last[0], element), tirx.And(same(element, last[0]), i > last_at[0]))
                    unseen = tirx.Or(tirx.EQ(k, 0), later)
                    wins = tirx.Or(best_at[0] < 0, better(element, best[0]))
                    with when(tirx.And(unseen, wins)):
                        best[0] = element
                        best_at[0] = i
                frame.out.store(Point(at(k)), tirx.Cast("int64", best_at[0]))
                last[0] = best[0]
                last_at[0] = best_at[0]

    return Kernel("top_k_indices", emit, {})
