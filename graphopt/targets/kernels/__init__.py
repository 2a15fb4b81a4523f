"""The kernels: for each anchor operator, a rule that writes its loops for a target."""

from graphopt.targets.kernels import channelwise, conv, moves, nest
from graphopt.targets.kernels.base import RULES, Built, Kernel, Task, build, find_rule, kernel_rule

__all__ = [
    "RULES",
    "Built",
    "Kernel",
    "Task",
    "build",
    "channelwise",
    "conv",
    "find_rule",
    "kernel_rule",
    "moves",
    "nest",
]
