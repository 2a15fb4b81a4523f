"""Inner values that a student learns from its teacher, through projections that are dropped afterwards (FitNets)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphopt.errors import InvalidInput

POOLS: dict[int, Callable[..., Tensor]] = {
    3: functional.adaptive_avg_pool1d,
    4: functional.adaptive_avg_pool2d,
    5: functional.adaptive_avg_pool3d,
}
"""By rank, what brings values of channels at axis 1 to a grid."""


class Projection(nn.Module):
    """From a student's value to the shape of its teacher's: a linear map of the channels, where they differ.

    The channels are at axis 1, or, of sequences of equal length, at the last. Grids of different sizes are averaged
    to the smaller of each axis. Raises ``InvalidInput`` for values that cannot be brought together.
    """

    def __init__(self, student: Tensor, teacher: Tensor, name: str) -> None:
        super().__init__()
        own, wanted = [*student.shape], [*teacher.shape]
        sequence = len(own) == 3 and own[1] == wanted[1]
        self.axis = 2 if sequence else 1
        same_rank = len(own) == len(wanted) >= 2
        self.grid = [min(pair) for pair in zip(own[2:], wanted[2:], strict=False)] if not sequence else []
        if not same_rank or own[0] != wanted[0] or not (student.is_floating_point() and teacher.is_floating_point()):
            what = f"the student has {student.dtype}{own}, the teacher {teacher.dtype}{wanted}"
            raise InvalidInput(what, where=f"features: {name}", advice="take floats of one rank and batch")
        differ = own[self.axis] != wanted[self.axis]
        self.linear = nn.Linear(own[self.axis], wanted[self.axis], bias=False) if differ else nn.Identity()

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Both, in one shape."""
        own = self.linear(self.pooled(student).movedim(self.axis, -1)).movedim(-1, self.axis)
        return own, self.pooled(teacher)

    def pooled(self, value: Tensor) -> Tensor:
        if [*value.shape[2:]] == self.grid or not self.grid:
            return value
        return POOLS[value.ndim](value, self.grid)


def projections(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], names: list[str], seed: int) -> nn.ModuleList:
    """A projection for each pair, of a seed."""
    torch.manual_seed(seed)
    return nn.ModuleList(map(Projection, student, teacher, names))
