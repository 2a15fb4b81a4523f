"""Sparse tensors stored compactly: one bit for every element, and the nonzero values."""

from __future__ import annotations

import math

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Value, constant, expect
from graphopt.ops.elementwise import Add, Maximum
from graphopt.ops.indexing import Gather
from graphopt.ops.logic import BitwiseAnd, Cast, ShiftRight, Where
from graphopt.ops.reduction import CumSum
from graphopt.ops.shape import Reshape

__all__ = ["Decompress"]


class Decompress(Op, name="decompress"):
    """A tensor of ``shape``, row-major: element i is the next of ``values`` if bit i of ``bits`` is 1, else zero.

    bits is uint8 [ceil(elements / 8)], the lowest bit of a byte first; values [m] has at least one number for each 1.
    """

    shape: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> TensorType:
        bits, values = inputs
        expect(bits == TensorType("uint8", (-(-math.prod(self.shape) // 8),)), f"{bits} for {self.shape}")
        expect(values.rank == 1 and values.dtype != "bool" and values.shape[0] != 0, f"values {values}")
        return values.with_shape(self.shape)

    def evaluate(self, *inputs: Array) -> Array:
        bits, values = inputs
        there = np.unpackbits(bits, count=math.prod(self.shape), bitorder="little").astype(bool)
        data = np.zeros(there.shape, values.dtype)
        data[there] = values[: there.sum()]
        return data.reshape(self.shape)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        """Pick each element by the number of ones up to it."""
        bits, values = inputs
        place = np.arange(math.prod(self.shape))
        byte = Gather(axis=0)(bits, constant(place // 8))
        one = BitwiseAnd()(ShiftRight()(byte, constant((place % 8).astype("uint8"))), constant(np.uint8(1)))
        count = CumSum(axis=0)(Cast(to="int32")(one))
        at = Maximum()(Add()(count, constant(np.int32(-1))), constant(np.int32(0)))
        picked = Gather(axis=0)(values, at)
        data = Where()(Cast(to="bool")(one), picked, constant(np.zeros((), values.type.dtype)))
        return (Reshape(shape=self.shape)(data),)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        sizes = [d for d in x.type.shape if isinstance(d, int) and d > 0]
        if len(sizes) < x.type.rank or not x.type.is_float:
            return None
        count = math.prod(sizes)
        rows, columns = draw.integer(1, 3), draw.integer(1, count)
        there = np.arange(rows * columns) % draw.integer(2, 3) == 0
        there[np.cumsum(there) > count] = False
        bits = constant(np.packbits(there, bitorder="little"))
        return cls(shape=(rows, columns))(bits, Reshape(shape=(count,))(x))
