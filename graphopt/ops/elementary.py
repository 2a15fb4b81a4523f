"""Elementary functions of float32 as polynomials: the same operations in the same order, so the same bits, everywhere.

Each function is written once, on the numbers of an ``Arithmetic``. ``InNumpy`` evaluates it; ``graphopt.targets``
writes it in C and in vectors for LLVM. Products are rounded before they are added. In other floats ``evaluated`` takes
numpy's or SciPy's function.

The coefficients are minimax: least squares whose weights follow the error (Lawson, 1961), over Chebyshev nodes, in
float64. From the lowest on each is rounded to float32, and those above it are fitted again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from graphopt.ir import Array
from graphopt.ops.arithmetic import ROUNDING, Arithmetic, Number, polynomial
from graphopt.ops.power import EXP, pow
from graphopt.ops.trigonometry import cos, sin

__all__ = ["FUNCTIONS", "InNumpy", "evaluated"]

LOG2_E = 1.44269504088896
LOG_2 = (0.693359375, -2.12194440e-4)
"""In two parts; the first has so few digits that its product with an exponent is exact."""
LEAST = -104.0
"""exp of this and of anything below it is 0."""
HALF_ROOT = 0x3F3504F3
"""The bits of sqrt(1/2)."""

LOG = (0.33333331, -0.2500082, 0.20001242, -0.16623409, 0.14201580, -0.1315961, 0.12762217, -0.07636439)
"""q in log(1 + f) = f - f^2 / 2 + f^3 q(f), for sqrt(1/2) <= 1 + f <= sqrt(2)."""
ERFC = (0.12837921, 0.63661623, 0.10281739, -0.019333534, 0.00022701097, 0.001232895, -0.00037304926, 3.943772e-05)
"""q in erfc(x) = exp(-x - x q(x)), for 0 <= x <= 4."""
ATANH = (0.3333321, 0.20010719, 0.14001514, 0.14003377)
"""q in atanh(x) = x + x^3 q(x^2), for |x| <= 1/3."""


def reduction(m: Arithmetic, x: Number, most: int | None = None) -> tuple[Number, Number, Number]:
    """Two parts of r, of which the second is subtracted, and the integer n of exp(x) = exp(r) * 2^n.

    Where n is limited, r is what is left.
    """
    shifted = m.keep(x * LOG2_E + ROUNDING)
    if most is not None:
        shifted = m.keep(m.at_most(shifted, ROUNDING + most))
    n = m.keep(shifted - ROUNDING)
    return x - n * LOG_2[0], n * LOG_2[1], m.bits(shifted) - 0x4B400000


def reduced_exp(m: Arithmetic, x: Number, most: int | None = None) -> tuple[Number, Number]:
    """exp(r) - 1 and the integer n of exp(x) = exp(r) * 2^n."""
    high, low, n = reduction(m, x, most)
    r = m.keep(high - low)
    square = m.keep(r * r)
    return square * polynomial(m, r, EXP, square) + r, n


def exp(m: Arithmetic, x: Number) -> Number:
    """From the least subnormal number to infinity. 2^n is two factors: 2^128 and 2^-150 are no floats."""
    power, n = reduced_exp(m, m.keep(m.at_most(m.at_least(x, LEAST), 89.0)))
    n = m.keep(n)
    half = m.keep(n >> 1)
    return (power + 1.0) * m.power_of_two(half) * m.power_of_two(n - half)


def low_exp(m: Arithmetic, x: Number) -> Number:
    """exp of numbers up to 43, or NaN. 2^n is a factor that is always a float, and 2^-64."""
    power, n = reduced_exp(m, m.keep(m.at_least(x, LEAST)))
    return (power + 1.0) * m.power_of_two(n + 64) * 2.0**-64


def expm1(m: Arithmetic, x: Number) -> Number:
    """exp(x) - 1 for x <= 0, with the digits of a small x."""
    return narrow_expm1(m, m.keep(m.at_least(x, -87.0)))


def narrow_expm1(m: Arithmetic, x: Number) -> Number:
    """exp(x) - 1 of numbers from -87 to 87, or NaN."""
    power, n = reduced_exp(m, x)
    scale = m.keep(m.power_of_two(n))
    return power * scale + (scale - 1.0)


def log(m: Arithmetic, x: Number) -> Number:
    """NaN below 0, -infinity at 0. Subnormal numbers are scaled up first."""

    def positive() -> Number:
        tiny = m.keep(x < 2.0**-126)
        bits = m.keep(m.bits(m.either(tiny, lambda: x * 2.0**23, lambda: x)))
        exponent = m.keep(bits - HALF_ROOT >> 23)
        f = m.keep(m.of_bits(bits - (exponent << 23)) - 1.0)
        n = m.keep(m.as_float(exponent) - m.either(tiny, lambda: 23.0, lambda: 0.0))
        square = m.keep(f * f)
        rest = f * square * polynomial(m, f, LOG, square) + n * LOG_2[1] - square * 0.5
        return m.either(x < math.inf, lambda: rest + f + n * LOG_2[0], lambda: x)

    return m.either(x > 0.0, positive, lambda: m.either(x < 0.0, lambda: math.nan, lambda: x - math.inf))


def sigmoid(m: Arithmetic, x: Number) -> Number:
    """1 / (1 + t) or t / (1 + t) with t = exp(-|x|), which does not overflow."""
    t = m.keep(low_exp(m, -m.magnitude(x)))
    return m.either(x < 0.0, lambda: t, lambda: 1.0) / (t + 1.0)


def tanh(m: Arithmetic, x: Number) -> Number:
    """t / (t + 2) with t = exp(2 |x|) - 1, which is 1 from 9.02 on."""
    t = m.keep(narrow_expm1(m, m.keep(m.at_most(m.magnitude(x), 10.0) * 2.0)))
    return m.with_sign(t / (t + 2.0), x)


def erf(m: Arithmetic, x: Number) -> Number:
    """1 - erfc(|x|), which is 1 from 3.92 on, and keeps the digits of a small x as ``narrow_expm1`` does."""
    size = m.keep(m.at_most(m.magnitude(x), 4.0))
    power, n = reduced_exp(m, m.keep(-(size * polynomial(m, size, ERFC) + size)))
    scale = m.keep(m.power_of_two(n))
    return m.with_sign(1.0 - scale - power * scale, x)


def silu(m: Arithmetic, x: Number) -> Number:
    """x / (1 + exp(-x)) as x / (2^-n + exp(r)) * 2^-n with exp(-x) = exp(r) * 2^n, which does not overflow.

    2^-149 is the least float32; below, exp(r) grows until the result is 0.
    """
    power, n = reduced_exp(m, m.keep(-m.at_most(x, 20.0)), most=149)
    scale = m.keep(m.power_of_two(24 - n) * 2.0**-24)
    return x / (power + (scale + 1.0)) * scale


def gelu(m: Arithmetic, x: Number) -> Number:
    return x * 0.5 * (erf(m, m.keep(x * math.sqrt(0.5))) + 1.0)


def tanh_gelu(m: Arithmetic, x: Number) -> Number:
    """x / 2 * (1 + tanh(u / 2)) is x * sigmoid(u)."""
    return x * sigmoid(m, m.keep((x * x * x * 0.044715 + x) * math.sqrt(8 / math.pi)))


def softplus(m: Arithmetic, x: Number) -> Number:
    """max(x, 0) + log(1 + t) with t = exp(-|x|), which does not overflow.

    log(1 + t) is 2 atanh(t / (2 + t)), which keeps the digits of a small t.
    """
    t = m.keep(low_exp(m, -m.magnitude(x)))
    s = m.keep(t / (t + 2.0))
    square = m.keep(s * s)
    return m.at_least(x, 0.0) + (s * square * polynomial(m, square, ATANH) + s) * 2.0


def mish(m: Arithmetic, x: Number) -> Number:
    """x * tanh(log(1 + t)) is x * u / (u + 3.5) with t = exp(x) and u = 7/4 t (t + 2); x itself where u is large.

    With t = s (1 + p) and s a power of two, u is s (1 + p) (7/4 s + 3.5 + 7/4 s p), where p alone is rounded before.
    The factor 7/4 is for sums just above 3.5: rounding takes less of their size than of sums just above 2.
    """
    high, low, n = reduction(m, m.keep(m.at_most(m.at_least(x, LEAST - 2.0), 20.0)))
    high, low = m.keep(high), m.keep(low)
    r = m.keep(high - low)
    square = m.keep(r * r)
    p = m.keep(square * polynomial(m, r, EXP, square) - low + high)
    scale = m.keep(m.power_of_two(n + 64))
    part = m.keep(scale * (1.75 * 2.0**-64))
    whole = m.keep(part + 3.5)
    u = m.keep((p * (p * part + (whole + part)) + whole) * scale * 2.0**-64)
    return x * (u / (u + 3.5))


FUNCTIONS: dict[str, Callable[..., Number]] = {
    one.__name__: one
    for one in (cos, exp, low_exp, expm1, log, pow, sigmoid, sin, tanh, erf, silu, gelu, tanh_gelu, softplus, mish)
}
"""By name; of an arithmetic and one number or two."""


class InNumpy(Arithmetic):
    """On arrays of float32, lane by lane."""

    def keep(self, x: Number) -> Number:
        return x

    def either(self, condition: Number, yes: Callable[[], Number], no: Callable[[], Number]) -> Number:
        return np.where(condition, np.asarray(yes(), np.float32), np.asarray(no(), np.float32))

    def rarely(
        self, condition: Number, others: Callable[[], tuple[Number, ...]], usual: tuple[Number, ...]
    ) -> tuple[Number, ...]:
        if not condition.any():
            return usual
        return tuple(np.where(condition, other, one) for other, one in zip(others(), usual, strict=True))

    def at_least(self, x: Number, bound: float) -> Number:
        return np.maximum(x, np.float32(bound))

    def at_most(self, x: Number, bound: float) -> Number:
        return np.minimum(x, np.float32(bound))

    def bits(self, x: Number) -> Number:
        return x.view(np.int32)

    def of_bits(self, i: Number) -> Number:
        return i.view(np.float32)

    def as_float(self, i: Number) -> Number:
        return i.astype(np.float32)


BLOCK = 1 << 13
"""So many numbers at once: what is computed on the way stays in the cache."""


def evaluated(name: str, exact: Callable[..., Array], *inputs: Array) -> Array:
    """A function of arrays of floats, in their dtype: by ``FUNCTIONS[name]`` for float32, else by ``exact``."""
    if inputs[0].dtype != np.float32:
        return np.asarray(exact(*inputs), inputs[0].dtype)
    broadcast = np.broadcast_arrays(*inputs)
    flat, m, function = [np.ascontiguousarray(x).ravel() for x in broadcast], InNumpy(), FUNCTIONS[name]
    y = np.empty_like(flat[0])
    with np.errstate(all="ignore"):
        for at in range(0, len(y), BLOCK):
            y[at : at + BLOCK] = function(m, *(x[at : at + BLOCK] for x in flat))
    return y.reshape(broadcast[0].shape)
