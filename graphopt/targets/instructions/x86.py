"""PMADDWD and PMADDUBSW, which every x86-64-v2 has: two products of 16 bits in each lane, or four of 8 bits."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.vectors import VectorInstruction


def sums_of_pairs(a: Array, b: Array) -> Array:
    """Products of int16 [2 * lanes], summed two by two: int32 [lanes]; it wraps around for four times -2^15 alone."""
    return np.asarray((a.astype(np.int64) * b).reshape(-1, 2).sum(axis=1).astype(np.int32))


MULTIPLY_ADD_PAIRS = VectorInstruction(
    "pmaddwd",
    {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"},
    sums_of_pairs,
)


def short_sums_of_pairs(a: Array, b: Array) -> Array:
    """Products of uint8 and int8 [4 * lanes], summed two by two: int16 [2 * lanes], which saturates."""
    sums = (a.astype(np.int64) * b).reshape(-1, 2).sum(axis=1)
    return np.asarray(np.clip(sums, -(1 << 15), (1 << 15) - 1).astype(np.int16))


MULTIPLY_ADD_BYTES = VectorInstruction(
    "pmaddubsw",
    {4: "llvm.x86.ssse3.pmadd.ub.sw.128", 8: "llvm.x86.avx2.pmadd.ub.sw", 16: "llvm.x86.avx512.pmaddubs.w.512"},
    short_sums_of_pairs,
    results=2,
)
