"""Words at any places of memory, by one instruction of AVX2."""

from __future__ import annotations

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.targets.instructions.vectors import VectorInstruction
from graphopt.targets.tir import Expr

MOST_LANES = 8


def pairs_at(elements: Array, places: Array) -> Array:
    """Of int16 elements those at each place and behind it, the first in the lower half of an int32."""
    return np.stack([elements[places], elements[places + 1]], axis=-1).view(np.int32)[..., 0]


GATHER = VectorInstruction(
    "pgatherdd", {4: "llvm.x86.avx2.gather.d.d", MOST_LANES: "llvm.x86.avx2.gather.d.d.256"}, pairs_at
)


def gather_pairs(elements: Expr, places: Expr, lanes: int) -> Expr:
    """From a pointer to int16, two of them from each place on: int32 in so many lanes, 4 or more."""
    if lanes > MOST_LANES:
        halves = [range(start, start + lanes // 2) for start in (0, lanes // 2)]
        parts = [gather_pairs(elements, tirx.Shuffle([places], list(half)), lanes // 2) for half in halves]
        return tirx.Shuffle(parts, list(range(lanes)))
    nothing, all_of_them = (tirx.const(n, f"int32x{lanes}") for n in (0, -1))
    return GATHER.intrinsic(lanes, nothing, elements, places, all_of_them, tirx.const(2, "int8"))
