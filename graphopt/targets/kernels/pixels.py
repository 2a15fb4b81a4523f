"""Bytes as int8: all at once where both stand in the same order."""

from __future__ import annotations

from graphopt.ir import Op
from graphopt.ops import FlipSign
from graphopt.rewrite import Decline
from graphopt.targets.instructions.pixels import FLIP_SIGNS
from graphopt.targets.kernels.base import Frame, Kernel, Task
from graphopt.targets.kernels.order import point_reads


def flipped(task: Task[Op]) -> Kernel:
    """The kernel of a region that flips the highest bits of a whole operand and does nothing else."""
    nodes, inputs = task.region.compute, task.region.body.inputs
    if len(nodes) != 1 or not isinstance(nodes[0].op, FlipSign) or len(inputs) != 1:
        raise Decline("it does not only flip highest bits")
    (x,) = inputs
    same = task.layouts == (task.out,) and task.dense
    if task.target.codegen != "c" or not same or x.type.dtype != "uint8" or task.shared is not None:
        raise Decline("its elements stand in another order, or it is not for C")

    def emit(frame: Frame) -> None:
        FLIP_SIGNS.run(frame.out.at(*[0] * x.type.rank), frame.tensors[x].at(*[0] * x.type.rank), task.out.size)

    return Kernel(nodes[0].op.name, emit, {}, reads=point_reads(task))
