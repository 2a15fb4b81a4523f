"""SDOT of AArch64 (FEAT_DotProd): four products of 8 bits, both signed, added to each lane; the sum wraps around."""

from __future__ import annotations

from graphopt.targets.instructions.vectors import VectorInstruction, add_fours, sum_of_fours

ADD_FOUR_SIGNED_PRODUCTS = VectorInstruction(
    "sdot", {4: "llvm.aarch64.neon.sdot.v4i32.v16i8"}, sum_of_fours, frozenset({"+dotprod"}), add_fours
)
