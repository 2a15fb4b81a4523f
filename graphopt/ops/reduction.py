"""Reductions over axes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Value, expect


class Reduction(Op):
    """A reduction over ``axes`` (sorted, not negative), which stay as ones if ``keepdims``."""

    axes: tuple[int, ...]
    keepdims: bool = True

    function: ClassVar[str]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.is_float, f"{self.name} of {x}: it works on floats")
        expect(list(self.axes) == sorted(set(self.axes)), f"axes {self.axes} must be sorted and distinct")
        expect(all(0 <= a < x.rank for a in self.axes), f"axes {self.axes} of {x}")
        expect(0 not in (x.shape[a] for a in self.axes), f"{self.name} over no elements of {x}")
        if self.keepdims:
            return x.with_shape(1 if a in self.axes else d for a, d in enumerate(x.shape))
        return x.with_shape(d for a, d in enumerate(x.shape) if a not in self.axes)

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.asarray(getattr(np, self.function)(x, axis=self.axes, keepdims=self.keepdims), x.dtype)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not x.type.is_float:
            return None
        first = draw.integer(1, x.type.rank - 1)
        axes = tuple(range(first, draw.integer(first, x.type.rank - 1) + 1))
        return cls(axes=axes, keepdims=draw.choice([True, False]))(x)


class ReduceMean(Reduction, name="reduce_mean"):
    """The mean; over both spatial axes it is global average pooling."""

    function = "mean"


class ReduceSum(Reduction, name="reduce_sum"):
    function = "sum"


class ReduceMax(Reduction, name="reduce_max"):
    function = "max"
