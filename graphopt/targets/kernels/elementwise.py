"""Regions of elementwise operators alone.

LLVM makes vectors of the plain nest, but not if elementary functions are in it: products behind a fence stay scalars.
So these are written in vectors. So are sums of bytes that are requantized, where they fill registers of bytes: in rows
of few channels LLVM makes none of them.
"""

from __future__ import annotations

import math
from contextlib import ExitStack

from graphopt.ir import Op
from graphopt.ops import Identity, WeightedSum
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task
from graphopt.targets.kernels.interleaved import at_once, has_functions
from graphopt.targets.kernels.nest import elementwise_nest
from graphopt.targets.kernels.rows import merged_axes, merging
from graphopt.targets.kernels.strided_copy import StridedCopy
from graphopt.targets.lookup import RuleChoice, choose
from graphopt.targets.requantize import RequantizeUpper
from graphopt.targets.requantize_sums import ShiftDown
from graphopt.targets.schedule import channel_segments
from graphopt.targets.tir import Expr, Point, Tensor, loop

WORD_BYTES = 4


def elementwise_vectors(task: Task[Op]) -> Kernel:
    """In vectors along the innermost axis, several at once; axes that lie as one in all tensors are one."""
    region = task.region
    if region.tail is not None:
        raise Decline("a pooling ends it")
    shape = region.head.type.static_shape
    if not shape:
        raise Decline("it is a single number")
    tensors = [task.strided(v).broadcast(shape) for v in region.epilogue_operands]
    out = Tensor(None, region.head.type.dtype, task.out.shape, task.out.strides)
    groups = merged_axes(out, tensors)
    if out.strides[groups[-1][-1]] != 1:
        raise Decline("the elements of its result do not stand side by side")
    view, sizes = merging(groups), [math.prod(shape[a] for a in group) for group in groups]
    vectors = at_once(task) if has_functions(task) else WORD_BYTES

    def emit(frame: Frame) -> None:
        epilogue, seen = frame.epilogue(view), view(frame.out)
        assert seen is not None
        with ExitStack() as loops:
            index: list[Expr] = [loops.enter_context(loop(f"i{a}", 0, size)) for a, size in enumerate(sizes[:-1])]
            for segment in channel_segments(sizes[-1], vectors * task.target.lanes, 1):
                with loop("block", 0, segment.blocks) as block:
                    at = Point((*index, segment.start + block * segment.lanes), len(index), segment.lanes)
                    seen.store(at, epilogue(None, at))

    return Kernel(region.compute[-1].op.name, emit, {})


def elementwise_copy(task: Task[Op]) -> Kernel:
    """Elements as they are, from strides to others."""
    (x,) = task.region.epilogue_operands
    if task.region.tail is not None or x not in task.region.body.inputs:
        raise Decline("a pooling ends it, or it is a number")

    def emit(frame: Frame) -> None:
        StridedCopy(task.target, frame.out, frame.tensors[x]).emit()

    return Kernel(task.region.compute[-1].op.name, emit, {})


RULES = {
    ("copies", "llvm"): elementwise_copy,
    ("copies", None): elementwise_nest,
    ("functions", "llvm"): elementwise_vectors,
    ("functions", None): elementwise_nest,
    ("sums", "x86"): elementwise_vectors,
    ("sums", None): elementwise_nest,
    ("others", None): elementwise_nest,
}
"""By what is in the region, and by instruction set."""
SUMS = (WeightedSum, ShiftDown, RequantizeUpper)


def kind_of(task: Task[Op]) -> str:
    """Whether elementary functions are in a region, or requantized sums alone, or nothing is computed."""
    if all(isinstance(node.op, Identity) for node in task.region.epilogue):
        return "copies"
    if has_functions(task):
        return "functions"
    return "sums" if all(isinstance(node.op, SUMS) for node in task.region.epilogue) else "others"


def elementwise_kernel(task: Task[Op]) -> RuleChoice[Kernel]:
    """The kernel of a region without an anchor."""
    return choose(RULES, kind_of(task), task.target, lambda rule: rule(task))
