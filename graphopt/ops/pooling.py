"""Poolings over sliding windows; x [n, c, *s] -> [n, c, *s']."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, expect
from graphopt.ops.windows import Window, sample_window

__all__ = ["AveragePool", "MaxPool", "Pool"]


class Pool(Op):
    """A pooling. Empty tuples mean ones (strides, dilations) and zeros (pads); pads are smaller than the window."""

    traits = Trait.WINDOW | Trait.PER_SAMPLE

    kernel: tuple[int, ...]
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()

    integers: ClassVar[bool] = False

    def window(self) -> Window:
        return Window.of(self.kernel, self.strides, self.pads, self.dilations)

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(3 <= x.rank <= 5 and (x.is_float or self.integers), f"{self.name} of {x}")
        window = self.window()
        for axis, extent in enumerate(window.extent):
            expect(max(window.axis_pads(axis)) < extent, f"pads {self.pads} must be smaller than the window {extent}")
        return x.with_shape((*x.shape[:2], *window.output_shape(x.shape[2:])))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        window = sample_window(draw, x.type)
        if window is None or not x.type.is_float:
            return None
        return cls(kernel=window.kernel, strides=window.strides, pads=window.pads, dilations=window.dilations)(x)


class MaxPool(Pool, name="max_pool"):
    """The maximum of each window; padding never wins."""

    integers = True

    def evaluate(self, *inputs: Array) -> Array:
        (x,), window = inputs, self.window()
        view = window.view(x, -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min)
        return np.asarray(view.max(axis=tuple(range(-window.rank, 0))))


class AveragePool(Pool, name="average_pool"):
    """The mean of each window: over its elements inside the input, or over all if ``count_include_pad``."""

    count_include_pad: bool = False

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        window = self.window()
        axes = tuple(range(-window.rank, 0))
        total = window.view(x, 0).sum(axis=axes)
        inside = np.ones_like(x[:1, :1]) if not self.count_include_pad else None
        count = np.prod(self.kernel) if inside is None else window.view(inside, 0).sum(axis=axes)
        return np.asarray(total / count, x.dtype)
