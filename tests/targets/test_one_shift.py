"""The scaling of all channels by one shift, which routines have written out: the same numbers, or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graphopt.targets.kernels.scaling import MOST_UP, SHIFTS, brought_to
from graphopt.targets.requantize import addend, scaled


@given(
    multiplier=st.one_of(st.integers(0, 1 << 10), st.integers(1 << 30, (1 << 31) - 1)),
    given_shift=st.integers(1, 23),
    shift=st.sampled_from(SHIFTS),
    zero_point=st.integers(-128, 127),
    ends=st.tuples(st.integers(-(1 << 20), 1 << 20), st.integers(-(1 << 20), 1 << 20)),
    accs=st.lists(st.integers(-(1 << 20), 1 << 20), min_size=3),
)
def test_a_shift_that_is_given_scales_to_the_same(
    multiplier: int, given_shift: int, shift: int, zero_point: int, ends: tuple[int, int], accs: list[int]
) -> None:
    least, greatest = sorted(ends)
    found = brought_to(shift, multiplier, addend(zero_point, given_shift + 32), given_shift, least, greatest)
    if found is None:
        assert not shift - MOST_UP <= given_shift <= shift
        return
    smaller, added, up = found
    for acc in (least, greatest, *(min(max(acc, least), greatest) for acc in accs)):
        assert -(1 << 31) <= acc << up < 1 << 31
        want = scaled((multiplier, given_shift + 32), acc) + zero_point
        assert (((acc << up) * smaller >> 32) + added) >> shift == want


def test_sums_that_might_need_more_than_32_bits_have_none() -> None:
    given_shift, shift = 8, 16
    assert brought_to(shift, 1 << 30, 1 << 7, given_shift, -(1 << 20), 1 << 20) == (1 << 30, 1 << 15, 8)
    assert brought_to(shift, 1 << 30, 1 << 7, given_shift, -(1 << 20), 1 << 21) is None
