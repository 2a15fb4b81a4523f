"""Rows of a result that are held on are moved to the front of its buffer."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

from graphopt.targets.kernels.base import Built
from graphopt.targets.schedule import runs
from graphopt.targets.tir import Locals, Point, Tensor, loop

AT_ONCE = 4
"""Elements that are loaded before they are stored."""
WIDE = ("int32", "int16", "int8")


@cache
def rows_mover(dtype: str, distance: int, nbytes: int) -> Built:
    """A function that moves so many bytes of elements of a dtype by a distance, to lower addresses."""
    fitting = [w for w in WIDE if distance % np.dtype(w).itemsize == nbytes % np.dtype(w).itemsize == 0]
    wide = dtype if np.dtype(dtype).itemsize >= 4 else fitting[0]
    size = nbytes // np.dtype(wide).itemsize
    with IRBuilder() as b:
        with builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            builder.func_attr({"tirx.noalias": True})
            x, y = (Tensor(builder.arg(n, builder.buffer((size,), wide)), wide, (size,), (1,)) for n in ("x0", "y"))
            for start, count, several in runs(size, AT_ONCE):
                with loop("i", 0, count) as i:
                    held = Locals("held", several, wide)
                    for k in range(several):
                        held[k] = x.load(Point((start + i * several + k,)))
                    for k in range(several):
                        y.store(Point((start + i * several + k,)), held[k])
        return Built("move_rows", b.get(), (), overlapping=frozenset(["x0", "y"]))
