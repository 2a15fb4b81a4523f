"""How a batch of matrix products is seen by its kernels: perhaps transposed, perhaps with leading axes among the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from graphopt.ops import MatMul, MatMulInteger
from graphopt.targets.kernels.base import Task
from graphopt.targets.schedule import LEAST_LANES
from graphopt.targets.tir import Tensor


@dataclass(frozen=True)
class ProductForm:
    """A batch of products [rows, depth] by [depth, columns] that a matmul [m, k] by [k, n] is computed as.

    y = a b is also y^T = b^T a^T: then a is the right operand. The last ``merged`` leading axes, over which the right
    operand is the same, count as rows. Vectors go along columns.
    """

    batch: tuple[int, ...]
    m: int
    depth: int
    n: int
    transposed: bool = False
    merged: int = 0

    @cached_property
    def rows(self) -> int:
        """Of one product, those of the merged axes with them."""
        return (self.n if self.transposed else self.m) * math.prod(self.batch[len(self.batch) - self.merged :])

    @cached_property
    def columns(self) -> int:
        return self.m if self.transposed else self.n

    @cached_property
    def outer(self) -> tuple[int, ...]:
        """The sizes of the leading axes that are left, as long as ``batch``: merged ones have one element."""
        return self.batch[: len(self.batch) - self.merged] + (1,) * self.merged

    def result(self, y: Tensor) -> Tensor | None:
        """A tensor [*batch, m, n] as [*outer, rows, columns]; None if its strides do not allow that."""
        return self.merge(turned(y) if self.transposed else y)

    def merge(self, left: Tensor) -> Tensor | None:
        merged: Tensor | None = left
        for axis in range(len(self.batch) - self.merged, len(self.batch)):
            merged = merged and merged.merge_axes(axis)
        return merged

    def left(self, a: Tensor, b: Tensor) -> Tensor | None:
        """The left operand, [*outer, rows, depth]; None if its strides do not allow that."""
        return self.merge(self.wide(turned(b) if self.transposed else a))

    def right(self, a: Tensor, b: Tensor) -> Tensor:
        """The right operand, [*batch, depth, columns]; along axes that are merged, its first elements are all."""
        return self.wide(turned(a) if self.transposed else b)

    def wide(self, operand: Tensor) -> Tensor:
        return operand.broadcast((*self.batch, *operand.shape[-2:]))


def turned(tensor: Tensor) -> Tensor:
    """The transpose of the last two axes."""
    *shape, rows, columns = tensor.shape
    *strides, down, along = tensor.strides
    return replace(tensor, shape=(*shape, columns, rows), strides=(*strides, along, down))


def form_of(task: Task[MatMul | MatMulInteger]) -> ProductForm:
    """The form in which vectors are long and stored side by side, and as many rows as can be share a right operand."""
    a, b = (task.strided(v) for v in task.inputs)
    *batch, m, n = task.result.type.static_shape
    along, down = task.place.strides[-1], task.place.strides[-2]
    transposed = n < LEAST_LANES <= m or (along != 1 == down and n > 1)
    plain = ProductForm(tuple(batch), m, a.shape[-1], n, transposed)
    right = plain.right(a, b)
    for merged in range(len(batch), 0, -1):
        form = replace(plain, merged=merged)
        shared = not any(right.strides[len(batch) - merged : len(batch)])
        if shared and form.left(a, b) is not None and task.allows(form.result):
            return form
    return plain
