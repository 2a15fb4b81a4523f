"""The kernels: for each anchor operator, a rule that writes its loops for a target."""

from graphopt.ir.registry import import_all
from graphopt.targets import lookup_words, requantize, scalars_cast, scalars_functions, scalars_integer, scalars_math
from graphopt.targets.kernels.base import (
    KERNEL_RULES,
    Kernel,
    ScratchForm,
    Task,
    choose_kernel,
    has_kernel,
    kernel_rule,
)
from graphopt.targets.kernels.built import Built, build

import_all(__path__, __name__)

__all__ = [
    "KERNEL_RULES",
    "Built",
    "Kernel",
    "ScratchForm",
    "Task",
    "build",
    "choose_kernel",
    "has_kernel",
    "kernel_rule",
    "lookup_words",
    "requantize",
    "scalars_cast",
    "scalars_functions",
    "scalars_integer",
    "scalars_math",
]
