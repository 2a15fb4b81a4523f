"""Instructions of x86 on vectors, by the names that LLVM has for them, and what they mean.

LLVM would have to prove that factors have 16 bits to find PMADDWD by itself; a call of the name is that instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.targets.tir import Expr


@dataclass(frozen=True)
class VectorInstruction:
    """An instruction with an int32 in each lane of its result: what LLVM calls it, by these lanes, and its meaning.

    ``mnemonic`` is what disassemblers show; with AVX there is a v before it.
    """

    mnemonic: str
    names: Mapping[int, str]
    meaning: Callable[..., Array]

    def call(self, lanes: int, *operands: Expr) -> Expr:
        """The expression, int32 in so many lanes."""
        return tirx.call_llvm_pure_intrin(f"int32x{lanes}", self.names[lanes], *operands)


def sums_of_pairs(a: Array, b: Array) -> Array:
    """Products of int16 [2 * lanes], summed two by two: int32 [lanes]; it wraps around for four times -2^15 alone."""
    return np.asarray((a.astype(np.int64) * b).reshape(-1, 2).sum(axis=1).astype(np.int32))


MULTIPLY_ADD_PAIRS = VectorInstruction(
    "pmaddwd",
    {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"},
    sums_of_pairs,
)


def pair_in_lanes(pair: Expr, lanes: int) -> Expr:
    """A pair of int16 in each of so many lanes."""
    return tirx.reinterpret(f"int16x{2 * lanes}", tirx.Broadcast(tirx.reinterpret("int32", pair), lanes))
