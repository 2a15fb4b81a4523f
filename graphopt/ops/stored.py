"""In what form programs store weights.

A weight is a constant of numbers, and operators compute with those, whatever its form. Of a ``compact`` constant a
program keeps the fewest bytes that hold its numbers exactly. So a pass may give a layer other weights, and nothing it
does can make the form untrue; at worst they take more bytes.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from graphopt.ir import Array, Constant, TensorType, Value, constant
from graphopt.ops.half import fits_half
from graphopt.ops.two_level import factors_of, factors_shape

__all__ = ["StoredForm", "compacted", "is_grouped", "least_form", "stored_bits", "stored_bytes", "stored_form"]


class StoredForm(Enum):
    """What is stored of each weight."""

    WHOLE = "whole"
    """The element as it is."""
    HALF = "float16"
    """A float16 of a wider float."""
    NIBBLES = "int4"
    """Four bits of an int8 in [-7, 7], two in a byte."""
    GROUPED = "int4-grouped"
    """The same of what its factor divides; and the factors of all groups, ``factors_of``, a byte each."""
    BITS = "binary"
    """The sign of an int8 that is -1 or 1, eight in a byte."""

    def bits(self, dtype: str) -> int:
        """The bits of a weight, without factors."""
        return NARROW.get(self, 8 * np.dtype(dtype).itemsize)

    def nbytes(self, weight: TensorType) -> int:
        """The bytes of all weights of a type, factors included."""
        factors = math.prod(factors_shape(weight.static_shape)) if self is StoredForm.GROUPED else 0
        return -(-math.prod(weight.static_shape) * self.bits(weight.dtype) // 8) + factors


NARROW = {StoredForm.HALF: 16, StoredForm.NIBBLES: 4, StoredForm.GROUPED: 4, StoredForm.BITS: 1}


def stored_form(weight: Value) -> StoredForm:
    """The form in which the layers that read a weight store it."""
    op = weight.op
    return least_form(op.value) if isinstance(op, Constant) and op.compact else StoredForm.WHOLE


def least_form(weight: Array) -> StoredForm:
    """The form of fewest bytes that holds these numbers exactly."""
    if weight.dtype in (np.float32, np.float64) and fits_half(weight):
        return StoredForm.HALF
    if weight.dtype != np.int8:
        return StoredForm.WHOLE
    if is_grouped(weight):
        return StoredForm.GROUPED
    return {1: StoredForm.BITS, 4: StoredForm.NIBBLES, 8: StoredForm.WHOLE}[stored_bits(weight)]


def compacted(weight: Array, like: Value) -> Value:
    """A constant of weights, compact if they take fewer bytes then."""
    return constant(weight, like=like, compact=least_form(weight) is not StoredForm.WHOLE)


def stored_bits(weight: Array) -> int:
    """The bits that the integers of weights need: 1, 4 or 8."""
    largest = int(np.abs(weight.astype(np.int32)).max(initial=0))  # -128 has no magnitude in int8
    if largest == 1 and np.all(weight):
        return 1
    return 4 if largest <= 7 else 8


def is_grouped(weight: Array) -> bool:
    """Whether weights need only 4 bits when divided by the factors of their groups."""
    return stored_bits(weight) == 8 and factors_of(weight) is not None


def stored_bytes(weight: Value) -> int:
    """The bytes of a constant as programs store it, factors included."""
    return stored_form(weight).nbytes(weight.type)
