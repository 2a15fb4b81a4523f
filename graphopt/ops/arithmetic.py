"""What elementary functions are written on: the operations of float32 and int32 that every target has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["ROUNDING", "Arithmetic", "Number", "horner", "polynomial"]

Number = Any
"""A float32, or a bool or an int32 made of one: whatever an ``Arithmetic`` computes with; it has Python's operators."""

ROUNDING = 12582912.0
"""1.5 * 2^23: a float of this size has no digits behind the point, so adding it rounds to an integer, half to even."""


class Arithmetic(ABC):
    """How the operations of the functions are carried out. Numbers have the operators of Python."""

    @abstractmethod
    def keep(self, x: Number) -> Number:
        """A number that is used more than once."""

    @abstractmethod
    def either(self, condition: Number, yes: Callable[[], Number], no: Callable[[], Number]) -> Number:
        """One of two float32. Both may be computed."""

    @abstractmethod
    def rarely(
        self, condition: Number, others: Callable[[], tuple[Number, ...]], usual: tuple[Number, ...]
    ) -> tuple[Number, ...]:
        """The usual float32 and int32, or others where a condition holds; these are computed only if it does."""

    @abstractmethod
    def at_least(self, x: Number, bound: float) -> Number:
        """max(x, bound); NaN stays NaN."""

    @abstractmethod
    def at_most(self, x: Number, bound: float) -> Number:
        """min(x, bound); NaN stays NaN."""

    @abstractmethod
    def bits(self, x: Number) -> Number:
        """The int32 of the bits of a float32."""

    @abstractmethod
    def of_bits(self, i: Number) -> Number:
        """The float32 that has these bits."""

    @abstractmethod
    def as_float(self, i: Number) -> Number:
        """The float32 of an int32 of few digits."""

    def magnitude(self, x: Number) -> Number:
        return self.of_bits(self.bits(x) & 0x7FFFFFFF)

    def with_sign(self, x: Number, sign: Number) -> Number:
        """A number that is not negative, with the sign of another."""
        return self.of_bits(self.bits(x) | self.bits(sign) & -0x80000000)

    def power_of_two(self, i: Number) -> Number:
        """2^i, for i from -126 to 127."""
        return self.of_bits((i + 127) << 23)


def polynomial(m: Arithmetic, x: Number, coefficients: Sequence[float], square: Number = None) -> Number:
    """Even and odd powers apart, each by Horner's rule: chains half as long. The constant term comes first."""
    square = m.keep(x * x) if square is None else square
    even, odd = (horner(square, coefficients[first::2]) for first in (0, 1))
    return x * odd + even


def horner(x: Number, coefficients: Sequence[float]) -> Number:
    *rest, value = coefficients
    for coefficient in reversed(rest):
        value = x * value + coefficient
    return value
