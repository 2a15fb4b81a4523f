"""Rows of a result that are held on are moved to the front of its buffer."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

from graphopt.targets.kernels.built import Built
from graphopt.targets.schedule import runs
from graphopt.targets.tir import Locals, Point, Tensor, loop

AT_ONCE = 4
"""Elements that are loaded before they are stored."""
WIDE = ("int32", "int16", "int8")


@cache
def rows_mover(dtype: str, distance: int, nbytes: int, lanes: int = 1) -> Built:
    """A function that moves so many bytes of elements of a dtype by a distance, to lower addresses; in vectors."""
    fitting = [w for w in WIDE if distance % np.dtype(w).itemsize == nbytes % np.dtype(w).itemsize == 0]
    wide = dtype if np.dtype(dtype).itemsize >= 4 else fitting[0]
    size = nbytes // np.dtype(wide).itemsize
    with IRBuilder() as b:
        with builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            builder.func_attr({"tirx.noalias": True})
            x, y = (Tensor(builder.arg(n, builder.buffer((size,), wide)), wide, (size,), (1,)) for n in ("x0", "y"))
            for start, count, several in runs(size, AT_ONCE * lanes):
                width = lanes if several == AT_ONCE * lanes else 1
                with loop("i", 0, count) as i:
                    places = [Point((start + i * several + k,), 0, width) for k in range(0, several, width)]
                    held = Locals("held", len(places), wide, width)
                    for k, place in enumerate(places):
                        held[k] = x.load(place)
                    for k, place in enumerate(places):
                        y.store(place, held[k])
        return Built("move_rows", b.get(), (), overlapping=frozenset(["x0", "y"]))
