"""Instructions on vectors, by the names that LLVM has for them, what they mean, and the same in other instructions.

LLVM would have to prove how many bits factors have to find such instructions by itself; a call of the name is one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, cast


@dataclass(frozen=True)
class VectorInstruction:
    """An instruction with an int32 in each lane of its result: what LLVM calls it, by these lanes, and its meaning.

    If a lane has two ``results``, they are int16.
    ``mnemonic`` is what disassemblers show; with AVX there is a v before it. Of ``features`` a target has one, or
    gets the ``twin``, which any machine runs; without features, all machines of the instruction set have it.
    """

    mnemonic: str
    names: Mapping[int, str]
    meaning: Callable[..., Array]
    features: frozenset[str] = frozenset()
    twin: Callable[..., Expr] | None = None
    results: int = 1

    def call(self, target: Target, lanes: int, *operands: Expr) -> Expr:
        """The expression, in so many lanes."""
        if self.twin is not None and not self.features & set(target.features):
            return self.twin(lanes, *operands)
        return self.intrinsic(lanes, *operands)

    def intrinsic(self, lanes: int, *operands: Expr) -> Expr:
        """The same for a target that is known to have it."""
        kind = f"int{32 // self.results}x{lanes * self.results}"
        return tirx.call_llvm_pure_intrin(kind, self.names[lanes], *operands)


def word_in_lanes(word: Expr, lanes: int) -> Expr:
    """Elements side by side, of 32 bits together, in each of so many lanes."""
    kind = word.ty.dtype
    size = 32 // int(kind.bits)
    both = tirx.Broadcast(tirx.reinterpret("int32", word), lanes)
    return tirx.reinterpret(f"{kind.with_lanes(1)}x{size * lanes}", both)


FOUR = 4
"""Products of 8 bits in a word."""


def sum_of_fours(total: Array, a: Array, b: Array) -> Array:
    """Products of 8 bits [4 * lanes], summed four by four with int32 [lanes]; the sum wraps around."""
    products = (a.astype(np.int64) * b).reshape(-1, FOUR).sum(axis=1)
    return np.asarray((total + products).astype(np.int32))


def add_fours(lanes: int, total: Expr, a: Expr, b: Expr) -> Expr:
    """The twin of instructions that add four products of 8 bits to each lane."""
    for i in range(FOUR):
        each = (cast(tirx.Shuffle([x], list(range(i, FOUR * lanes, FOUR))), "int32") for x in (a, b))
        total = total + operator.mul(*each)
    return total
