"""Kernels that move elements: transpose, slice, concat, pad, expand, resize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from tvm import tirx

from graphopt.ir import Op
from graphopt.ops import Concat, Expand, Pad, Reshape, Resize, Slice, Transpose
from graphopt.targets.kernels.base import KERNEL_RULES, Frame, Kernel, Task, kernel_rule, physical_loops
from graphopt.targets.kernels.nest import Index, conjunction, emit_nest
from graphopt.targets.tir import Expr, Point, loop

KERNEL_RULES.unsupported("its result is its operand, read by another shape", (Reshape, None))


def gather(task: Task[Op], source: Callable[[Index], Sequence[Expr]]) -> Kernel:
    """The kernel of a result whose element at ``index`` is the input's at ``source(index)``."""
    (xv,) = task.inputs

    def emit(frame: Frame) -> None:
        emit_nest(frame, lambda index: frame.tensors[xv].load(Point(tuple(source(index)))))

    return Kernel(task.op.name, emit, {})


@kernel_rule(Transpose, strided=True)
def transpose_kernel(task: Task[Transpose]) -> Kernel:
    inverse = np.argsort(task.op.perm).tolist()
    return gather(task, lambda index: [index[i] for i in inverse])


@kernel_rule(Slice, strided=True)
def slice_kernel(task: Task[Slice]) -> Kernel:
    op = task.op
    return gather(task, lambda index: [op.start + i * op.step if a == op.axis else i for a, i in enumerate(index)])


@kernel_rule(Expand, strided=True)
def expand_kernel(task: Task[Expand]) -> Kernel:
    shape = task.inputs[0].type.static_shape
    extra = task.result.type.rank - len(shape)
    return gather(task, lambda index: [0 if d == 1 else i for d, i in zip(shape, index[extra:], strict=True)])


@kernel_rule(Pad, strided=True)
def pad_kernel(task: Task[Pad]) -> Kernel:
    (xv,), op = task.inputs, task.op
    shape = xv.type.static_shape

    def emit(frame: Frame) -> None:
        x = frame.tensors[xv]
        fill = tirx.const(op.value, x.dtype)

        def value(index: Index) -> Expr:
            source = tuple(i - low for i, low in zip(index, op.pads[: len(shape)], strict=True))
            conditions = []
            for axis, (at, size) in enumerate(zip(source, shape, strict=True)):
                conditions += [at >= 0] if op.pads[axis] else []
                conditions += [at < size] if op.pads[axis + len(shape)] else []
            within = conjunction(conditions)
            element = x.load(Point(source))
            return element if within is True else tirx.if_then_else(within, element, fill)

        emit_nest(frame, value)

    return Kernel("pad", emit, {})


@kernel_rule(Resize, strided=True)
def resize_kernel(task: Task[Resize]) -> Kernel:
    """Nearest resize: integer upscaling by a division, any other by one table of source positions per axis."""
    (xv,), op = task.inputs, task.op
    shape = xv.type.static_shape
    maps = [op.source(axis, shape[axis + 2]) for axis in range(len(op.sizes))]
    factors = [size // n if size % n == 0 else 0 for size, n in zip(op.sizes, shape[2:], strict=True)]
    even = [f > 0 and m == [i // f for i in range(len(m))] for f, m in zip(factors, maps, strict=True)]
    tables = {f"source{a}": np.asarray(m, np.int32) for a, (m, e) in enumerate(zip(maps, even, strict=True)) if not e}

    def emit(frame: Frame) -> None:
        def position(axis: int, i: Expr) -> Expr:
            return tirx.floordiv(i, factors[axis]) if even[axis] else frame.packed[f"source{axis}"].load(Point((i,)))

        def value(index: Index) -> Expr:
            spatial = (position(axis, i) for axis, i in enumerate(index[2:]))
            return frame.tensors[xv].load(Point((*index[:2], *spatial)))

        emit_nest(frame, value)

    return Kernel("resize", emit, tables)


@kernel_rule(Concat, strided=True)
def concat_kernel(task: Task[Concat]) -> Kernel:
    """One copy loop for each operand."""
    op, values = task.op, task.inputs

    def emit(frame: Frame) -> None:
        epilogue, start = frame.epilogue(), 0
        for value in values:
            shape = value.type.static_shape
            index: list[Expr] = [0] * len(shape)
            with ExitStack() as loops:
                for axis in physical_loops(shape, frame.out.strides):
                    index[axis] = loops.enter_context(loop(f"i{axis}", 0, shape[axis]))
                at = Point(tuple(i + start if a == op.axis else i for a, i in enumerate(index)))
                frame.out.store(at, epilogue(frame.tensors[value].load(Point(tuple(index))), at))
            start += shape[op.axis]

    return Kernel("concat", emit, {})
