"""Reductions over axes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, expect
from graphopt.ops.logic import Cast

__all__ = [
    "ArgMax",
    "ArgMin",
    "ArgReduction",
    "CumProd",
    "CumSum",
    "Cumulative",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Reduction",
]


class Reduction(Op):
    """A reduction over ``axes`` (sorted, not negative); with ``keepdims`` they stay with size one."""

    traits = Trait.REDUCTION

    axes: tuple[int, ...]
    keepdims: bool = True

    function: ClassVar[str]
    integers: ClassVar[bool] = True

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.is_float or (self.integers and x.dtype != "bool"), f"{self.name} of {x}")
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
    integers = False


class ReduceSum(Reduction, name="reduce_sum"):
    function = "sum"


class ReduceMax(Reduction, name="reduce_max"):
    function = "max"


class ReduceMin(Reduction, name="reduce_min"):
    function = "min"


class ReduceProd(Reduction, name="reduce_prod"):
    function = "prod"


class ArgReduction(Op):
    """The int64 position of an extreme element along one axis; of equal elements the first, or if ``last`` the last."""

    axis: int
    keepdims: bool = True
    last: bool = False

    function: ClassVar[str]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(0 <= self.axis < x.rank and x.shape[self.axis] != 0, f"{self.name} along {self.axis} of {x}")
        kept = (1,) * self.keepdims
        return TensorType("int64", (*x.shape[: self.axis], *kept, *x.shape[self.axis + 1 :]))

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        x = np.flip(x, self.axis) if self.last else x
        at = getattr(np, self.function)(x, axis=self.axis, keepdims=self.keepdims)
        return np.asarray(x.shape[self.axis] - 1 - at if self.last else at, np.int64)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not x.type.is_float:
            return None
        op = cls(
            axis=draw.integer(1, x.type.rank - 1), keepdims=draw.choice([True, False]), last=draw.choice([True, False])
        )
        return Cast(to=x.type.dtype)(op(x))


class ArgMax(ArgReduction, name="arg_max"):
    function = "argmax"


class ArgMin(ArgReduction, name="arg_min"):
    function = "argmin"


class Cumulative(Op):
    """The running total along one axis, including each element itself unless ``exclusive``."""

    axis: int
    exclusive: bool = False
    reverse: bool = False

    function: ClassVar[str]
    neutral: ClassVar[int]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(0 <= self.axis < x.rank and x.dtype != "bool", f"{self.name} along {self.axis} of {x}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        x = np.flip(x, self.axis) if self.reverse else x
        if self.exclusive:
            first = np.full_like(np.take(x, [0], self.axis), self.neutral)
            x = np.concatenate([first, np.take(x, range(x.shape[self.axis] - 1), self.axis)], self.axis)
        y = getattr(np, self.function)(x, axis=self.axis, dtype=x.dtype)
        return np.asarray(np.flip(y, self.axis) if self.reverse else y, order="C")

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not x.type.is_float:
            return None
        flags = [draw.choice([True, False]) for _ in range(2)]
        return cls(axis=draw.integer(1, x.type.rank - 1), exclusive=flags[0], reverse=flags[1])(x)


class CumSum(Cumulative, name="cum_sum"):
    function = "cumsum"
    neutral = 0


class CumProd(Cumulative, name="cum_prod"):
    function = "cumprod"
    neutral = 1
