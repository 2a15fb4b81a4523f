"""Requantisation, proved bit by bit: floor((acc * m + 2^(t-1)) / 2^t) + zero point, between two limits.

``acc`` is any int32 and ``m`` any int32; of their product it is used only that it lies within 2^62. The instructions of
generated C are read from their own text; the halves of wide accumulators are computed by the reference evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import z3

from graphopt.ops.requantize import scaled_wide
from graphopt.targets.instructions import INSTRUCTIONS, definition
from graphopt.targets.requantize import MOST_ADDEND, addend
from proofs.c import returned, widened

HELPER = definition(INSTRUCTIONS["requantize", None])
UPPER = f"int32_t multiply_upper(int32_t a, int32_t b, int32_t c)\n{{\n{INSTRUCTIONS['multiply_upper', None].body}\n}}"
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


def upper_half(shift: int, text: str = UPPER) -> tuple[z3.BitVecRef, z3.BoolRef, z3.BoolRef]:
    """By the upper half of the product: what it gives, what C must not leave undefined, and what has to be known."""
    addend = (1 << (shift - 33)) + (widened(ZERO, 64) << (shift - 32))
    given = z3.And(addend >= -MOST_ADDEND, addend <= MOST_ADDEND, PRODUCT < 1 << 62)
    operands = {"a": z3.BitVec("acc", 32), "b": z3.BitVec("multiplier", 32), "c": widened(addend, 32)}
    upper, defined = returned(text, operands, lambda a, b: PRODUCT)
    scaled = upper >> (shift - 32)
    return z3.If(scaled < LOW, LOW, z3.If(scaled > HIGH, HIGH, scaled)), defined, given


@pytest.mark.parametrize("shift", range(33, 63))
def test_the_upper_half_of_the_product(shift: int) -> None:
    """In two steps: nothing overflows, and then 64 bits are enough to say that it is the same."""
    got, defined, given = upper_half(shift)
    assert holds(defined, (*KNOWN, given))
    rounded_up = ((PRODUCT + (1 << (shift - 1))) >> shift) + widened(ZERO, 64)
    low, high = widened(LOW, 64), widened(HIGH, 64)
    clipped = z3.If(rounded_up < low, low, z3.If(rounded_up > high, high, rounded_up))
    assert holds(widened(got, 64) == clipped, (*KNOWN, given))


HALVES = "hl", "ll", "lh", "hh"
"""The products of upper and lower halves, in the order in which they are written."""
CHANGES = [("", ""), ("middle & 0xffffu", "middle & 0x7fffu"), ("other >> 16", "other >> 15")]


@pytest.mark.parametrize(("right", "wrong"), CHANGES)
def test_the_upper_half_by_four_products_of_16_bits(right: str, wrong: str) -> None:
    """Of the halves of the operands only the ranges of their products are known; c is added last, to what fits."""
    body = INSTRUCTIONS["multiply_upper", "armv6-m"].body
    assert right in body and body.endswith(" + c;")
    text = f"int32_t multiply_upper(int32_t a, int32_t b, int32_t c)\n{{\n{body.replace(right, wrong)}\n}}"
    products = {name: z3.BitVec(name, 32) for name in HALVES}
    left = iter(HALVES)
    operands = {"a": z3.BitVec("a", 32), "b": z3.BitVec("b", 32), "c": z3.BitVecVal(0, 32)}
    got, defined = returned(text, operands, lambda a, b: products[next(left)])
    hl, ll, lh, hh = (z3.ZeroExt(32, p) if name == "ll" else z3.SignExt(32, p) for name, p in products.items())
    mixed = (z3.And(p >= -(1 << 15) * 0xFFFF, p <= 0x7FFF * 0xFFFF) for p in (hl, lh))
    known = [*mixed, ll >= 0, ll <= 0xFFFF**2, hh >= -(1 << 30), hh <= 1 << 30]
    upper = hh + ((hl + lh + z3.LShR(ll, 16)) >> 16)  # what is below these 16 bits carries nothing
    claim = widened(got, 64) == upper
    if right != wrong:
        assert not holds(claim, known)
        return
    assert holds(defined, known)
    assert holds(claim, known)


def test_more_room_for_the_addend_is_refuted() -> None:
    """Of a product in the lowest quarter of int64, which no multiplier of 31 bits gives."""
    assert holds(upper_half(40)[1], (*KNOWN, upper_half(40)[2]))
    assert not holds(upper_half(62)[1], KNOWN)
    assert not holds(upper_half(40, UPPER.replace(">> 32", ">> 31"))[1], (*KNOWN, upper_half(40)[2]))


def test_the_addend_is_what_is_proved() -> None:
    for shift, zero_point in ((33, 0), (40, -128), (55, 127), (62, 0)):
        assert addend(zero_point, shift) == (1 << (shift - 33)) + zero_point * 2 ** (shift - 32)


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
