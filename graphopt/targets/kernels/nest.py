"""Plain loop nests: one result at a time, for operators without a tiled kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial

from tvm import tirx

from graphopt.ir import Op
from graphopt.ops import (
    AveragePool,
    Conv,
    ConvInteger,
    ConvTranspose,
    ConvTransposeInteger,
    Linear,
    LinearInteger,
    MatMul,
    MatMulInteger,
    MaxPool,
    Pool,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    Reduction,
    SumPool,
    Window,
)
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule, physical_loops
from graphopt.targets.kernels.order import point_reads
from graphopt.targets.kernels.pixels import flipped, looked_up
from graphopt.targets.kernels.quantized import widened, zero_point_of
from graphopt.targets.kernels.rows import Row, merging, side_by_side
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.scalars import constant, limits
from graphopt.targets.tir import Expr, Locals, Point, largest, loop, smallest, when
from graphopt.targets.weights import place_in_rows, storage_of

Index = tuple[Expr, ...]


def emit_nest(frame: Frame, value: Callable[[Index], Expr]) -> None:
    """Loop over the head's shape in the order of memory; ``value`` gives the anchor's result at an index."""
    shape = frame.task.region.head.type.static_shape
    tail, epilogue = Tail(frame, lambda tensor: tensor), frame.epilogue()
    tail.prefill()
    index: list[Expr] = [0] * len(shape)
    with ExitStack() as loops:
        strides = tail.out.strides if tail.tail is None else tuple(range(len(shape), 0, -1))
        for axis in physical_loops(shape, strides):
            index[axis] = loops.enter_context(loop(f"i{axis}", 0, shape[axis]))
        at = Point(tuple(index))
        tail.store(at, epilogue(value(at.index), at))


def reduced(
    dtype: str,
    start: Expr,
    extents: Sequence[int],
    step: Callable[[Expr, Index], Expr],
    guard: Callable[[Index], Expr] = lambda index: True,
) -> Expr:
    """The value of an accumulator after loops over ``extents``; elements that fail the guard are skipped."""
    acc = Locals("acc", 1, dtype)
    acc[0] = start
    with ExitStack() as loops:
        index = tuple(loops.enter_context(loop(f"r{i}", 0, extent)) for i, extent in enumerate(extents))
        loops.enter_context(when(guard(index)))
        acc[0] = step(acc[0], index)
    return acc[0]


def widening(task: Task[Op]) -> Callable[..., Expr]:
    """``widened`` to the dtype of the anchor's result."""
    return partial(widened, dtype=task.result.type.dtype)


class NestWeights:
    """The weights of a product: read where they are if they are whole or computed, else from their packed form."""

    def __init__(self, task: Task[Op]) -> None:
        self.weight, self.storage = task.inputs[1], storage_of(task.inputs[1])
        self.dtype, self.codegen = task.result.type.dtype, task.target.codegen
        data = None if self.storage.whole else self.weight.constant
        self.packed = {} if data is None else self.storage.pack(data)
        self.replaced = () if data is None else (self.weight,)

    def load(self, frame: Frame, index: Index) -> Expr:
        """A weight, in the dtype of the accumulator."""
        if not self.packed:
            return widened(frame.tensors[self.weight].load(Point(index)), dtype=self.dtype)
        place = place_in_rows(index, self.weight.type.static_shape)
        return self.storage.load(frame.packed, place, self.dtype, self.codegen)


def conjunction(conditions: Sequence[Expr]) -> Expr:
    """The conjunction of the conditions; Python's True if there are none."""
    result: Expr = True
    for condition in conditions:
        result = condition if result is True else tirx.And(result, condition)
    return result


def inside(positions: Sequence[Expr], sizes: Sequence[int], window: Window) -> Expr:
    """Whether every position is inside its axis; only padded axes are tested."""
    conditions = []
    for axis, (position, size) in enumerate(zip(positions, sizes, strict=True)):
        if any(window.axis_pads(axis)):
            conditions += [position >= 0, position < size]
    return conjunction(conditions)


def sources(window: Window, at: Index, taps: Index) -> list[Expr]:
    """The input positions that taps read at an output position."""
    rank = range(window.rank)
    return [at[a] * window.strides[a] + taps[a] * window.dilations[a] - window.pads[a] for a in rank]


def conv_nest(task: Task[Conv | ConvInteger]) -> Kernel:
    """Convolution of any rank, with weights that may be computed at run time."""
    op, (xv, wv, bv), anchor = task.op, task.inputs, task.result
    window, wide, zero, weights = op.window(wv.type), widening(task), zero_point_of(op), NestWeights(task)
    group_in, group_out = wv.type.static_shape[1], wv.type.static_shape[0] // op.group

    def emit(frame: Frame) -> None:
        x, b = frame.tensors[xv], frame.tensors[bv]

        def value(index: Index) -> Expr:
            n, o, *at = index
            base = tirx.floordiv(o, group_out) * group_in if op.group > 1 else 0

            def step(acc: Expr, r: Index) -> Expr:
                source = sources(window, tuple(at), r[1:])
                return acc + wide(x.load(Point((n, base + r[0], *source))), zero) * weights.load(frame, (o, *r))

            def guard(r: Index) -> Expr:
                return inside(sources(window, tuple(at), r[1:]), x.shape[2:], window)

            return reduced(anchor.type.dtype, b.load(Point((o,))), (group_in, *window.kernel), step, guard)

        emit_nest(frame, value)

    return Kernel(op.name, emit, weights.packed, weights.replaced)


@kernel_rule(ConvTranspose, ConvTransposeInteger, strided=True)
def conv_transpose_nest(task: Task[ConvTranspose | ConvTransposeInteger]) -> Kernel:
    """Transposed convolution, gathered: each result sums the inputs whose windows cover it."""
    op, (xv, wv, bv), anchor = task.op, task.inputs, task.result
    window, wide, zero, weights = op.window(wv.type), widening(task), zero_point_of(op), NestWeights(task)
    group_in, group_out = wv.type.static_shape[0] // op.group, wv.type.static_shape[1]

    def emit(frame: Frame) -> None:
        x, b = frame.tensors[xv], frame.tensors[bv]

        def value(index: Index) -> Expr:
            n, o, *at = index
            group, within = (tirx.floordiv(o, group_out), tirx.floormod(o, group_out)) if op.group > 1 else (0, o)

            def reach(axis: int, tap: Expr) -> Expr:
                return at[axis] + window.pads[axis] - tap * window.dilations[axis]

            def step(acc: Expr, r: Index) -> Expr:
                *taps, c = r
                source = [tirx.floordiv(reach(a, t), window.strides[a]) for a, t in enumerate(taps)]
                channel = group * group_in + c
                weight = weights.load(frame, (channel, within, *taps))
                return acc + wide(x.load(Point((n, channel, *source))), zero) * weight

            def guard(r: Index) -> Expr:
                conditions = []
                for axis, tap in enumerate(r[:-1]):
                    far, stride = reach(axis, tap), window.strides[axis]
                    conditions += [far >= 0, far < x.shape[2 + axis] * stride]
                    conditions += [tirx.EQ(tirx.floormod(far, stride), 0)] if stride > 1 else []
                return conjunction(conditions)

            return reduced(anchor.type.dtype, b.load(Point((o,))), (*window.kernel, group_in), step, guard)

        emit_nest(frame, value)

    return Kernel(op.name, emit, weights.packed, weights.replaced)


def pool_nest(task: Task[SumPool | Pool]) -> Kernel:
    """Poolings of any rank."""
    op, (xv,), anchor = task.op, task.inputs, task.result
    window, wide = op.window(), widening(task)

    def emit(frame: Frame) -> None:
        x, dtype = frame.tensors[xv], anchor.type.dtype

        def value(index: Index) -> Expr:
            n, c, *at = index

            def element(r: Index) -> Expr:
                return x.load(Point((n, c, *sources(window, tuple(at), r))))

            def guard(r: Index) -> Expr:
                return inside(sources(window, tuple(at), r), x.shape[2:], window)

            if isinstance(op, MaxPool):
                start = tirx.const(limits(dtype)[0], dtype)
                return reduced(dtype, start, window.kernel, lambda acc, r: largest(acc, element(r)), guard)
            zero, one = tirx.const(0, dtype), tirx.const(1, dtype)
            total = reduced(dtype, zero, window.kernel, lambda acc, r: acc + wide(element(r), zero_point_of(op)), guard)
            if isinstance(op, SumPool):
                return total
            if isinstance(op, AveragePool) and op.count_include_pad:
                return total * tirx.const(1 / math.prod(window.kernel), dtype)
            return total / reduced(dtype, zero, window.kernel, lambda acc, r: acc + one, guard)

        emit_nest(frame, value)

    return Kernel(op.name, emit, {})


# by operator, the neutral element of a dtype and the step
REDUCE: dict[type[Op], tuple[Callable[[str], float], Callable[[Expr, Expr], Expr]]] = {
    ReduceSum: (lambda dtype: 0, lambda a, b: a + b),
    ReduceMean: (lambda dtype: 0, lambda a, b: a + b),
    ReduceProd: (lambda dtype: 1, lambda a, b: a * b),
    ReduceMax: (lambda dtype: limits(dtype)[0], largest),
    ReduceMin: (lambda dtype: limits(dtype)[1], smallest),
}


@kernel_rule(ReduceSum, ReduceMax, ReduceMin, ReduceProd, strided=True)
def reduce_nest(task: Task[Reduction]) -> Kernel:
    """A reduction over any axes."""
    op, (xv,) = task.op, task.inputs
    extents = [xv.type.static_shape[a] for a in op.axes]

    def emit(frame: Frame) -> None:
        x, dtype = frame.tensors[xv], xv.type.dtype
        neutral, combine = REDUCE[type(op)]

        def value(index: Index) -> Expr:
            kept = iter(index)
            outer = [next(kept) if op.keepdims or a not in op.axes else 0 for a in range(len(x.shape))]

            def step(acc: Expr, r: Index) -> Expr:
                at = list(outer)
                for axis, position in zip(op.axes, r, strict=True):
                    at[axis] = position
                return combine(acc, x.load(Point(tuple(at))))

            total = reduced(dtype, tirx.const(neutral(dtype), dtype), extents, step)
            return total * constant(1 / math.prod(extents), total) if isinstance(op, ReduceMean) else total

        emit_nest(frame, value)

    return Kernel(op.name, emit, {})


@kernel_rule(ReduceSum, ReduceMax, ReduceMin, ReduceProd, ReduceMean, isa="llvm", strided=True)
def reduce_rows(task: Task[Reduction]) -> Kernel:
    """A reduction of floats whose elements stand side by side, in vectors."""
    op, (xv,), dtype = task.op, task.inputs, task.inputs[0].type.dtype
    if not xv.type.is_float:
        raise Decline("LLVM makes vectors of sums of integers")
    kept = [a for a in range(xv.type.rank) if a not in op.axes]
    if not op.axes or not side_by_side(task.strided(xv), op.axes):
        raise Decline("its elements do not stand side by side")
    view = merging([*([a] for a in kept), op.axes])
    row = Row.of(math.prod(xv.type.static_shape[a] for a in op.axes), task.target.lanes, dtype)

    def emit(frame: Frame) -> None:
        x = view(frame.tensors[xv])
        neutral, combine = REDUCE[type(op)]

        def value(index: Index) -> Expr:
            lead = [index[a] for a in kept] if op.keepdims else index
            total = row.fold(neutral(dtype), combine, lambda i: x.load(Point((*lead, i), len(lead), row.lanes)))
            return total * constant(1 / row.size, total) if isinstance(op, ReduceMean) else total

        emit_nest(frame, value)

    return Kernel(op.name, emit, {})


@kernel_rule(MatMul, MatMulInteger, strided=True)
def matmul_nest(task: Task[MatMul | MatMulInteger]) -> Kernel:
    """A batched matrix product of two run-time operands."""
    op, (av, bv) = task.op, task.inputs
    anchor, wide = task.result, widening(task)
    zeros = (op.a_zero_point, op.b_zero_point) if isinstance(op, MatMulInteger) else (0, 0)
    batch = anchor.type.static_shape[:-2]

    def emit(frame: Frame) -> None:
        a, b = frame.tensors[av], frame.tensors[bv]
        a, b = (t.broadcast((*batch, *t.shape[-2:])) for t in (a, b))

        def value(index: Index) -> Expr:
            *lead, row, column = index

            def step(acc: Expr, r: Index) -> Expr:
                left, right = a.load(Point((*lead, row, r[0]))), b.load(Point((*lead, r[0], column)))
                return acc + wide(left, zeros[0]) * wide(right, zeros[1])

            return reduced(anchor.type.dtype, tirx.const(0, anchor.type.dtype), a.shape[-1:], step)

        emit_nest(frame, value)

    return Kernel("matmul", emit, {})


def linear_nest(task: Task[Linear | LinearInteger]) -> Kernel:
    """x [..., k] by weight [o, k]; the weight may be computed at run time."""
    xv, _, bv = task.inputs
    anchor, wide, zero, weights = task.result, widening(task), zero_point_of(task.op), NestWeights(task)

    def emit(frame: Frame) -> None:
        x, b = frame.tensors[xv], frame.tensors[bv]

        def value(index: Index) -> Expr:
            *lead, o = index

            def step(acc: Expr, r: Index) -> Expr:
                return acc + wide(x.load(Point((*lead, r[0]))), zero) * weights.load(frame, (o, r[0]))

            return reduced(anchor.type.dtype, b.load(Point((o,))), x.shape[-1:], step)

        emit_nest(frame, value)

    return Kernel("linear", emit, weights.packed, weights.replaced)


def elementwise_nest(task: Task[Op]) -> Kernel:
    """A region without an anchor, which has only an epilogue."""
    for whole in (flipped, looked_up):
        with suppress(Decline):
            return whole(task)
    name = task.region.compute[-1].op.name
    reads = point_reads(task)
    return Kernel(name, lambda frame: emit_nest(frame, lambda index: None), {}, reads=reads)
