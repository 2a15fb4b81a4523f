"""VPERMI2W of AVX-512: from two registers of 32 words each, the word at a place for each lane."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.vectors import VectorInstruction

WORDS = 32
"""In a register; of a place, the bits that count are those below twice as many."""


def words_at(low: Array, places: Array, high: Array) -> Array:
    """The words of the tables [n * 32] at places [n * 32], in both 32 by 32."""
    tables = np.concatenate([low.reshape(-1, WORDS), high.reshape(-1, WORDS)], axis=1)
    return np.take_along_axis(tables, places.reshape(-1, WORDS) % (2 * WORDS), axis=1).ravel()


PERMUTE_WORDS = VectorInstruction("permi2w", {16: "llvm.x86.avx512.vpermi2var.hi.512"}, words_at, results=2)
