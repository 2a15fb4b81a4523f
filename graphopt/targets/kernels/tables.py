"""Tables of one row for each channel; those of one row for all are elementwise."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from graphopt.ops import ChannelLookup
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.nest import Index, emit_nest
from graphopt.targets.kernels.order import point_reads
from graphopt.targets.kernels.pixels import looked_up
from graphopt.targets.tir import Expr, Point, cast


@kernel_rule(ChannelLookup, strided=True)
def channel_lookup_kernel(task: Task[ChannelLookup]) -> Kernel:
    with suppress(Decline):
        return looked_up(task)
    xv, tv = task.inputs
    lowest = int(np.iinfo(xv.type.dtype).min)

    def emit(frame: Frame) -> None:
        x, table = frame.tensors[xv], frame.tensors[tv]

        def value(index: Index) -> Expr:
            return table.load(Point((index[1], cast(x.load(Point(index)), "int32") - lowest)))

        emit_nest(frame, value)

    reads = {} if task.region.tail else {v: gap for v, gap in point_reads(task).items() if v is not tv}
    return Kernel(task.op.name, emit, {}, reads=reads)
