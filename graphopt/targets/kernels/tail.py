"""Store a kernel's results: directly into the result, or combined into the pooling that ends the region."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace

from tvm import tirx

from graphopt.ops import MaxPool, Pool
from graphopt.targets.kernels.base import Frame, View
from graphopt.targets.kernels.rows import merged_axes, merging
from graphopt.targets.scalars import constant, limits
from graphopt.targets.tir import Expr, Point, Tensor, largest, loop


class Tail:
    """Stores the values of the head of a region at points of its view.

    The windows of a pooling tail neither overlap nor leave gaps, so each value belongs to one pooled
    element. This element starts at the neutral element, and values are combined into it in place.
    """

    def __init__(self, frame: Frame, view: View) -> None:
        region = frame.task.region
        self.tail = region.tail
        self.kernel: tuple[int, ...] = ()
        out = frame.out
        if self.tail is not None:
            op, spatial = self.tail.op, region.head.type.static_shape[2:]
            self.kernel = op.window().kernel if isinstance(op, Pool) else spatial
            while len(out.shape) < 2 + len(spatial):
                out = out.insert_axis(len(out.shape))
        shown = view(out)
        assert shown is not None
        self.out: Tensor = shown
        self.kernel = (1,) * (len(shown.shape) - 2 - len(self.kernel)) + self.kernel if self.kernel else ()

    @property
    def neutral(self) -> float:
        return limits(self.out.dtype)[0] if self.tail is not None and isinstance(self.tail.op, MaxPool) else 0.0

    def prefill(self) -> None:
        """Set the result to the neutral element of the pooling, if there is one."""
        if self.tail is None:
            return
        groups = merged_axes(self.out)
        out = merging(groups)(self.out)
        with ExitStack() as loops:
            names = [f"i{a}" for a in range(1, len(groups))]
            index = [loops.enter_context(loop(n, 0, size)) for n, size in zip(["i", *names], out.shape, strict=True)]
            out.store(Point(tuple(index)), tirx.const(self.neutral, out.dtype))

    def store(self, at: Point, value: Expr) -> None:
        if self.tail is None:
            self.out.store(at, value)
            return
        spatial = (tirx.floordiv(i, k) for i, k in zip(at.index[2:], self.kernel, strict=True))
        pooled = replace(at, index=(*at.index[:2], *spatial))
        before = self.out.load(pooled)
        if isinstance(self.tail.op, MaxPool):
            self.out.store(pooled, largest(before, value))
        else:
            self.out.store(pooled, before + value * constant(1 / math.prod(self.kernel), value))
