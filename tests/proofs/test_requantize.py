"""Requantisation, proved bit by bit: floor((acc * m + 2^(t-1)) / 2^t) + zero point, between two limits.

``acc`` is any int32 and ``m`` any int32; of their product it is used only that it lies within 2^62. The helper of
generated C is read from its own text; the halves of wide accumulators are computed by the reference evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import z3

from graphopt.ops.requantize import scaled_wide
from graphopt.targets.instructions import INSTRUCTIONS, definition
from proofs.c import returned, widened

HELPER = definition(INSTRUCTIONS["requantize", None])
WIDE = 128
"""Bits in which nothing of a definition overflows."""

PRODUCT = z3.BitVec("product", 64)
ZERO, LOW, HIGH = (z3.BitVec(name, 32) for name in ("zero_point", "low", "high"))
KNOWN = (
    PRODUCT >= -(1 << 62),
    PRODUCT <= 1 << 62,
    *(z3.And(v >= -(1 << 15), v < 1 << 16) for v in (ZERO, LOW, HIGH)),  # what any 8 or 16 bit integer holds
    LOW <= HIGH,
)


def holds(claim: z3.BoolRef, known: Iterable[z3.BoolRef]) -> bool:
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*known, z3.Not(claim))
    return bool(solver.check() == z3.unsat)


def rounded(product: z3.BitVecRef, shift: int) -> z3.BitVecRef:
    """product / 2^shift to the nearest, halves up, by the definition and in bits enough."""
    return (widened(product, WIDE) + (1 << (shift - 1))) >> shift


def wanted(shift: int) -> z3.BitVecRef:
    value = rounded(PRODUCT, shift) + widened(ZERO, WIDE)
    low, high = widened(LOW, WIDE), widened(HIGH, WIDE)
    return z3.If(value < low, low, z3.If(value > high, high, value))


def helper(shift: int, text: str = HELPER) -> tuple[z3.BitVecRef, z3.BoolRef]:
    arguments = {
        "acc": z3.BitVec("acc", 32),
        "multiplier": z3.BitVec("multiplier", 32),
        "shift": z3.BitVecVal(shift, 32),
        "zero_point": ZERO,
        "low": LOW,
        "high": HIGH,
    }
    return returned(text, arguments, lambda a, b: PRODUCT)


@pytest.mark.parametrize("shift", range(1, 63))
def test_the_helper_of_generated_c(shift: int) -> None:
    got, defined = helper(shift)
    assert holds(z3.And(defined, widened(got, WIDE) == wanted(shift)), KNOWN)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("shift - 33", "shift - 32"), ("shift > 32", "shift > 31"), ("(shift - 1)", "(shift - 2)"), ("< low", "<= low")],
)
def test_a_wrong_helper_is_refuted_or_the_same(right: str, wrong: str) -> None:
    assert right in HELPER
    proved = []
    for shift in (20, 32, 33, 40):
        got, defined = helper(shift, HELPER.replace(right, wrong))
        proved.append(holds(z3.And(defined, widened(got, WIDE) == wanted(shift)), KNOWN))
    assert all(proved) == (wrong == "<= low")


@pytest.mark.parametrize("shift", range(33, 56))
def test_three_instructions_of_a_core_with_dsp(shift: int) -> None:
    """SMMLA acc, m, C; ASR #(t-32); SSAT #8, with C = 2^(t-33) + zero_point * 2^(t-32)."""
    byte = (z3.And(ZERO >= -128, ZERO <= 127), LOW == -128, HIGH == 127)
    addend = (1 << (shift - 33)) + widened(ZERO, 64) * (1 << (shift - 32))
    fits = z3.And(addend >= -(1 << 31), addend < 1 << 31)
    smmla = z3.Extract(63, 32, PRODUCT + (addend << 32))
    shifted = smmla >> (shift - 32)
    ssat = z3.If(shifted < -128, z3.BitVecVal(-128, 32), z3.If(shifted > 127, z3.BitVecVal(127, 32), shifted))
    assert holds(z3.And(fits, widened(ssat, WIDE) == wanted(shift)), (*KNOWN, *byte))


@dataclass(frozen=True)
class Part:
    """A part of an accumulator, of which only the product with the multiplier is known."""

    product: z3.BitVecRef

    def __mul__(self, multiplier: object) -> z3.BitVecRef:
        return self.product


@dataclass(frozen=True)
class Accumulator:
    """upper * 2^16 + lower."""

    upper: Part
    lower: Part

    def __rshift__(self, bits: int) -> Part:
        assert bits == 16
        return self.upper

    def __and__(self, mask: int) -> Part:
        assert mask == 0xFFFF
        return self.lower


@pytest.mark.parametrize("shift", range(17, 63))
def test_wide_accumulators_by_their_halves(shift: int) -> None:
    """Of a magnitude below 2^46, so that the upper part times the multiplier is within 2^61, the lower within 2^47."""
    upper, lower = z3.BitVecs("upper lower", 64)
    known = (upper >= -(1 << 61), upper <= 1 << 61, lower >= -(1 << 47), lower <= 1 << 47)
    accumulator = np.array([Accumulator(Part(upper), Part(lower))], object)
    (got,) = scaled_wide(accumulator, np.array([None]), np.array([shift], object))
    product = (widened(upper, WIDE) << 16) + widened(lower, WIDE)
    assert holds(widened(got, WIDE) == rounded(product, shift), known)
