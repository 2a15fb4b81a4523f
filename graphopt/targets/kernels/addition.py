"""What follows the products of a residual block: its shortcut is added, and the sum is scaled again to int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, Op, Value
from graphopt.ops import WeightedSum
from graphopt.targets.kernels.base import Task, View
from graphopt.targets.kernels.order import result_of
from graphopt.targets.requantize_sums import ShiftDown
from graphopt.targets.tir import Tensor


@dataclass(frozen=True)
class Addition:
    """The operand that is added, and the numbers of the routine."""

    other: Value
    numbers: Array


def addition_of(task: Task[Op], view: View) -> Addition | None:
    """The addition that ends a region whose sums are requantised to int8 first, over dense rows; None if none does."""
    region = task.region
    if len(region.epilogue) != 3 or region.tail is not None:
        return None
    narrow, added, last = region.epilogue
    if not isinstance(added.op, WeightedSum) or last.inputs[0] is not added.results[0]:
        return None
    if not isinstance(last.op, ShiftDown) or (last.op.low, last.op.high, last.op.to) != (-128, 127, "int8"):
        return None
    others = [v for v in added.inputs if v is not narrow.results[0]]
    if len(added.inputs) != 2 or len(others) != 1:
        return None
    (other,) = others
    same = other in region.body.inputs and other.type == narrow.types[0] and other is not task.inputs[0]
    if not same or not all(dense_rows(view(tensor)) for tensor in (task.strided(other), result_of(task))):
        return None
    factors = added.op.factors if added.inputs[1] is other else added.op.factors[::-1]
    return Addition(other, np.array([*factors, added.op.offset, last.op.shift], np.int32))


def dense_rows(tensor: Tensor | None) -> bool:
    """Whether all channels of a pixel stand together, and the pixels of a row."""
    if tensor is None:
        return False
    _, channels, _, width = tensor.shape
    return (channels == 1 or tensor.strides[1] == 1) and (width == 1 or tensor.strides[3] == channels)
