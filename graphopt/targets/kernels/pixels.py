"""Bytes as int8, or by tables: all at once where operand and result stand in the same order."""

from __future__ import annotations

from graphopt.ir import Op
from graphopt.ops import ChannelLookup, FlipSign, Lookup
from graphopt.rewrite import Decline
from graphopt.targets.instructions.pixels import FLIP_SIGNS, LOOK_UP
from graphopt.targets.kernels.base import Frame, Kernel, Task
from graphopt.targets.kernels.order import point_reads
from graphopt.targets.tir import loop


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


def looked_up(task: Task[Op]) -> Kernel:
    """The kernel of a region that takes all bytes of an operand from one table, or from one for each channel."""
    nodes, inputs = task.region.compute, task.region.body.inputs
    if len(nodes) != 1 or not isinstance(nodes[0].op, Lookup | ChannelLookup) or len(inputs) != 1:
        raise Decline("it does not only look up bytes")
    x, table = nodes[0].inputs
    kinds = x.type.dtype, table.type.dtype
    same = task.layouts == (task.out,) and task.dense and x in inputs
    if task.target.codegen != "c" or not same or kinds != ("uint8", "int8") or task.shared is not None:
        raise Decline("it is not of bytes in the same order, or it is not for C")
    channels = x.type.static_shape[1] if isinstance(nodes[0].op, ChannelLookup) else 1
    together = channels in LOOK_UP and (channels == 1 or task.out.strides[1] == 1)
    if not together and not task.out.is_row_major:
        raise Decline("its tables are too many, or take no turns")

    def emit(frame: Frame) -> None:
        origin, size = [0] * x.type.rank, task.out.size
        y, bytes_, tables = frame.out, frame.tensors[x], frame.tensors[table]
        if together:
            LOOK_UP[channels].run(
                y.at(*origin), bytes_.at(*origin), tables.at(*[0] * table.type.rank), size // channels
            )
            return
        with loop("n", 0, y.shape[0]) as n, loop("c", 0, channels) as c:
            place = n, c, *origin[2:]
            LOOK_UP[1].run(y.at(*place), bytes_.at(*place), tables.at(c, 0), size // (y.shape[0] * channels))

    reads = {v: gap for v, gap in point_reads(task).items() if v is x}
    return Kernel(nodes[0].op.name, emit, {}, reads=reads)
