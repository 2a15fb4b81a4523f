"""Tables in front of a product of integers, which its kernel looks elements up in as it copies them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphopt.ir import Array, Op
from graphopt.targets.instructions.widening import TABLE
from graphopt.targets.kernels.base import Task


def table_of(task: Task[Op]) -> Mapping[str, Array]:
    """The table of a task, int8 [channels or 1, 256], as a constant of its kernel; none where there is none."""
    lead = task.region.lead
    data = None if lead is None else lead.inputs[1].constant
    return {} if data is None else {TABLE: np.atleast_2d(data)}


def reading(task: Task[Op]) -> str:
    """The dtype of the elements that the anchor reads, or that it reads through a table of bytes."""
    return task.inputs[0].type.dtype if task.region.lead is None else TABLE
