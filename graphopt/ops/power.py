"""x^y of float32 as 2^(y log2(x)), with a logarithm in two parts that have 34 bits together.

The logarithm is that of FreeBSD's ``e_powf.c`` (Sun Microsystems, 1993), which wants no operation but those of float32:
s = (x - c) / (x + c) in two parts, and a polynomial in s^2.
"""

from __future__ import annotations

import math

from graphopt.ops.arithmetic import ROUNDING, Arithmetic, Number, horner, polynomial

__all__ = ["EXP", "pow"]

EXP = (0.49999994, 0.16666517, 0.04166828, 0.0083692484, 0.0013820741)
"""q in exp(r) = 1 + r + r^2 q(r), for |r| <= log(2) / 2."""
LOG = (0.6000000238, 0.42857143283, 0.33333334327, 0.27272811532, 0.23066075146, 0.20697501302)
"""q in 3/2 log((1 + s) / (1 - s)) = 3 s + s^3 (1 + s^2 q(s^2))."""
HALF_ROOT_3, ROOT_3_BY_2 = 0x3F5DB3D7, 0x3F9CC471
"""The bits of sqrt(3) / 2 and of sqrt(3 / 2)."""
LOG2_3_BY_2 = (5.84960938e-1, 1.56322085e-6)
TWO_BY_LOG_8 = (9.6191406250e-1, -1.1736857402e-4, 9.6179670095e-1)
"""2 / (3 log(2)) in two parts, and as a float32."""
MOST = 2.0**100
"""Beyond it an exponent makes 0, 1 or infinity of every float32."""
DIGITS = 2.0**23
"""From here on all float32 are integers."""


def pow(m: Arithmetic, x: Number, y: Number) -> Number:
    """x^y, of a negative x for integers y; x^0 and 1^y are 1 for all x and y, NaN too."""
    size = m.keep(m.magnitude(x))
    beyond = m.keep(m.either(y > 0.0, lambda: size, lambda: m.either(y < 0.0, lambda: 1.0 / size, lambda: y)))
    finite = m.keep(m.either(size < math.inf, lambda: power_of_positive(m, size, y), lambda: beyond))
    result = m.keep(m.either(size > 0.0, lambda: finite, lambda: beyond))
    odd, fraction = parity(m, m.keep(m.magnitude(y)))
    result = m.keep(m.of_bits(m.bits(result) | (odd << 31) & m.bits(x)))
    no_root = m.keep(m.either(is_not_zero(m, fraction), lambda: math.nan, lambda: result))
    of_negative = m.keep(m.either(x > -math.inf, lambda: no_root, lambda: result))
    result = m.keep(m.either(x < 0.0, lambda: of_negative, lambda: result))
    result = m.keep(m.either(is_not_zero(m, m.keep(x - 1.0)), lambda: result, lambda: 1.0))
    return m.either(is_not_zero(m, y), lambda: result, lambda: 1.0)


def parity(m: Arithmetic, y: Number) -> tuple[Number, Number]:
    """Whether a number that is not negative is an odd integer, as 0 or 1, and how far it is from an integer."""
    whole = m.keep(y + DIGITS)
    fraction = m.keep(m.either(y < DIGITS, lambda: whole - DIGITS - y, lambda: 0.0))
    small = m.keep(m.either(is_not_zero(m, fraction), lambda: 0.0, lambda: whole))
    large = m.keep(m.either(y < 2 * DIGITS, lambda: y, lambda: 0.0))
    return m.keep(m.bits(m.either(y < DIGITS, lambda: small, lambda: large)) & 1), fraction


def is_not_zero(m: Arithmetic, x: Number) -> Number:
    """Whether a number, or NaN, is not 0."""
    return (m.bits(x) & 0x7FFFFFFF) > 0


def power_of_positive(m: Arithmetic, x: Number, y: Number) -> Number:
    """x^y of positive numbers."""
    high, low = log2(m, x)
    y = m.keep(m.at_most(m.at_least(y, -MOST), MOST))
    upper = m.keep(few_digits(m, y))
    rest = m.keep((y - upper) * high + y * low)
    product = m.keep(upper * high)
    shifted = m.keep(m.at_most(m.at_least(product + rest, -152.0), 130.0) + ROUNDING)
    part = m.keep(m.at_most(m.at_least(product - (shifted - ROUNDING) + rest, -1.0), 1.0))
    r = m.keep(part * math.log(2))
    square = m.keep(r * r)
    power = square * polynomial(m, r, EXP, square) + r
    n = m.keep(m.bits(shifted) - 0x4B400000)
    half = m.keep(n >> 1)
    return (power + 1.0) * m.power_of_two(half) * m.power_of_two(n - half)


def log2(m: Arithmetic, x: Number) -> tuple[Number, Number]:
    """In two parts, of which the first has few digits."""
    tiny = m.keep(x < 2.0**-126)
    bits = m.keep(m.bits(m.either(tiny, lambda: x * 2.0**24, lambda: x)))
    exponent = m.keep(bits - HALF_ROOT_3 >> 23)
    n = m.keep(m.as_float(exponent) - m.either(tiny, lambda: 24.0, lambda: 0.0))
    mantissa = m.keep(bits - (exponent << 23))
    upper, x = m.keep(mantissa > ROOT_3_BY_2), m.keep(m.of_bits(mantissa))
    near = m.keep(m.either(upper, lambda: 1.5, lambda: 1.0))
    known = m.keep(m.either(upper, lambda: LOG2_3_BY_2[0], lambda: 0.0))
    known_low = m.either(upper, lambda: LOG2_3_BY_2[1], lambda: 0.0)

    # s = (x - near) / (x + near)
    over, under = m.keep(x - near), m.keep(x + near)
    inverse = m.keep(1.0 / under)
    s = m.keep(over * inverse)
    s_high, under_high = m.keep(few_digits(m, s)), m.keep(few_digits(m, under))
    under_low = m.keep(x - (under_high - near))
    s_low = m.keep((over - s_high * under_high - s_high * under_low) * inverse)

    # 3/2 log((1 + s) / (1 - s)) / s = 3 + s^2 + ...
    square = m.keep(s * s)
    tail = m.keep(square * square * horner(square, LOG) + s_low * (s_high + s))
    square = m.keep(s_high * s_high)
    factor = m.keep(few_digits(m, m.keep(square + 3.0 + tail)))
    factor_low = m.keep(tail - (factor - 3.0 - square))
    product = m.keep(s_high * factor)
    product_low = m.keep(s_low * factor + factor_low * s)
    high = m.keep(few_digits(m, m.keep(product + product_low)))
    low = m.keep(product_low - (high - product))

    scaled = m.keep(high * TWO_BY_LOG_8[0])
    scaled_low = m.keep(high * TWO_BY_LOG_8[1] + low * TWO_BY_LOG_8[2] + known_low)
    first = m.keep(few_digits(m, m.keep(scaled + scaled_low + known + n)))
    second = m.keep(first - n)
    second = m.keep(second - known)
    return first, m.keep(scaled_low - (second - scaled))


def few_digits(m: Arithmetic, x: Number) -> Number:
    """A number without its last 12 bits: products of two such are exact."""
    return m.of_bits(m.bits(x) & -0x1000)
