"""VPDPBUSD of x86, by AVX-512 VNNI or by AVX-VNNI: four products of 8 bits, added to each lane.

The elements of the first factor are unsigned, those of the second signed. The sum does not saturate: it is exact
wherever the result fits int32, whatever sums before it did.
"""

from __future__ import annotations

from graphopt.targets.instructions.vectors import VectorInstruction, add_fours, sum_of_fours

ADD_FOUR_PRODUCTS = VectorInstruction(
    "vpdpbusd",
    {lanes: f"llvm.x86.avx512.vpdpbusd.{32 * lanes}" for lanes in (4, 8, 16)},
    sum_of_fours,
    frozenset({"+avx512vnni", "+avxvnni"}),
    add_fours,
)
