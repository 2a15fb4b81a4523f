"""sin and cos of float32: the argument less a multiple of pi / 2, then one of two polynomials on [-pi / 4, pi / 4].

Multiples of up to 128 are subtracted in parts (Cody and Waite). Of larger arguments the product with 2 / pi is
computed in integers, of which only the bits around the binary point matter (Payne and Hanek). The polynomials are
those of Cephes (S. Moshier).
"""

from __future__ import annotations

import math
from itertools import pairwise

from graphopt.ops.arithmetic import ROUNDING, Arithmetic, Number, horner

__all__ = ["cos", "sin"]

BELOW_LARGE = 0x42FFFFFF
"""The bits of the largest float below 2^7, from where on it is by integers."""
HALF_PI = (1.57080078125, -4.454399459064007e-06, -5.564431554416771e-11)
"""In three parts; the first two have so few digits that their products with a multiple are exact."""
ROUNDED_HALF_PI = (1.5707963705062866, -4.371138828673793e-08)
"""As a float32, and what is left."""
TWO_BY_PI = (0, 10430, 24795, 37777, 1354, 32521, 54772, 32077, 14192, 14040, 42342, 20240, 58384, 32660)
"""The digits, of 16 bits, of 2 / pi / 2^18. Six of them from any bit on are multiplied by the 24 bits of a float."""

SIN = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
"""q in sin(r) = r + r^3 q(r^2)."""
COS = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)
"""q in cos(r) = 1 - r^2 / 2 + r^4 q(r^2)."""


def sin(m: Arithmetic, x: Number) -> Number:
    """sin(x); NaN of an infinity."""
    r, quarter = reduced(m, x)
    return turned(m, r, quarter)


def cos(m: Arithmetic, x: Number) -> Number:
    """cos(x), which is sin(x + pi / 2); NaN of an infinity."""
    r, quarter = reduced(m, x)
    return turned(m, r, quarter + 1)


def turned(m: Arithmetic, r: Number, quarter: Number) -> Number:
    """sin(r + quarter * pi / 2), for |r| <= pi / 4."""
    quarter, square = m.keep(quarter), m.keep(r * r)
    size = m.either(
        (quarter & 1) > 0,
        lambda: square * square * horner(square, COS) - square * 0.5 + 1.0,
        lambda: r * square * horner(square, SIN) + r,
    )
    return size * m.as_float(1 - (quarter & 2))


def reduced(m: Arithmetic, x: Number) -> tuple[Number, Number]:
    """r, and the integer n modulo 4, of x = r + n * pi / 2, for |r| <= pi / 4."""
    shifted = m.keep(x * (2 / math.pi) + ROUNDING)
    n = m.keep(shifted - ROUNDING)
    r = m.keep(x - n * HALF_PI[0] - n * HALF_PI[1] - n * HALF_PI[2])
    quarter = m.keep(m.bits(shifted) - 0x4B400000)
    r, quarter = m.rarely((m.bits(x) & 0x7FFFFFFF) > BELOW_LARGE, lambda: reduced_by_digits(m, x), (r, quarter))
    return m.keep(r), m.keep(quarter)


def reduced_by_digits(m: Arithmetic, x: Number) -> tuple[Number, Number]:
    """``reduced``, for |x| >= 2^7; NaN of NaN and infinities."""
    bits = m.keep(m.bits(x) & 0x7FFFFFFF)
    mantissa = m.keep(bits & 0x7FFFFF | 0x800000)
    d = product_digits(m, mantissa, digits_from(m, m.keep((bits >> 23) - 134)))
    quarter = m.keep(d[0] + 0x2000 >> 14)
    first = m.as_float((d[0] - (quarter << 14) << 10) + (d[1] >> 6)) * 2.0**-24
    rest = m.as_float(((d[1] & 63) << 16) + d[2]) * 2.0**-46 + m.as_float(d[3]) * 2.0**-62
    part = m.keep(first + rest)
    left = m.keep(rest - (part - first))  # what rounding took
    sign = m.keep(m.bits(x) >> 31 | 1)
    r = (part * ROUNDED_HALF_PI[1] + left * ROUNDED_HALF_PI[0] + part * ROUNDED_HALF_PI[0]) * m.as_float(sign)
    return m.either(m.magnitude(x) < math.inf, lambda: r, lambda: math.nan), quarter * sign


def digits_from(m: Arithmetic, place: Number) -> list[Number]:
    """The digits of TWO_BY_PI from a bit on."""
    digits: list[Number] = list(TWO_BY_PI)
    for step in (4, 2, 1):
        mask = m.keep(-(place >> 4 + step.bit_length() - 1 & 1))
        pairs = zip(digits, digits[step:], strict=False)
        digits = [m.keep((mask & after - before) + before) for before, after in pairs]
    over = m.keep(place & 15)
    return [m.keep((a << over | b >> 16 - over) & 0xFFFF) for a, b in pairwise(digits)]


def product_digits(m: Arithmetic, factor: Number, digits: list[Number]) -> list[Number]:
    """The first four digits behind the point of a factor of 24 bits times 0.digits, in parts that int32 holds."""
    upper, lower = m.keep(factor >> 12), m.keep(factor & 0xFFF)
    totals: list[Number] = []
    carried: Number = None
    for digit in reversed(digits):
        high = m.keep(upper * digit)
        total = lower * digit + ((high & 15) << 12)
        totals.insert(0, m.keep(total if carried is None else total + carried))
        carried = (totals[0] >> 16) + (high >> 4)
    return [m.keep(total & 0xFFFF) for total in totals[:4]]
