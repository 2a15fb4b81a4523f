"""The instructions that kernels call, a file for each instruction set; ``portable`` has the twin of every one."""

from graphopt.targets.instructions import armv6m, armv7m, dsp, dsp_products, dsp_winograd, portable, products, winograd
from graphopt.targets.instructions.base import (
    INSTRUCTIONS,
    Instruction,
    Span,
    definition,
    find_instruction,
    instruction,
    used,
)

__all__ = [
    "INSTRUCTIONS",
    "Instruction",
    "Span",
    "armv6m",
    "armv7m",
    "definition",
    "dsp",
    "dsp_products",
    "dsp_winograd",
    "find_instruction",
    "instruction",
    "portable",
    "products",
    "used",
    "winograd",
]
