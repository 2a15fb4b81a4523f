"""The kernels: for each anchor operator, a rule that writes its loops for a target."""

from graphopt.targets import scalars_cast, scalars_integer, scalars_math
from graphopt.targets.kernels import (
    binary,
    channelwise,
    conv,
    indexing,
    integer_recurrent,
    moves,
    nest,
    recurrent,
    scan,
    sparse,
)
from graphopt.targets.kernels.base import RULES, Built, Kernel, Task, build, find_rule, has_kernel, kernel_rule

__all__ = [
    "RULES",
    "Built",
    "Kernel",
    "Task",
    "binary",
    "build",
    "channelwise",
    "conv",
    "find_rule",
    "has_kernel",
    "indexing",
    "integer_recurrent",
    "kernel_rule",
    "moves",
    "nest",
    "recurrent",
    "scalars_cast",
    "scalars_integer",
    "scalars_math",
    "scan",
    "sparse",
]
