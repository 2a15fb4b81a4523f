"""Numbers that float16 holds."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array

__all__ = ["HALF_LARGEST", "fits_half", "rounded_to_half"]

HALF_LARGEST = 65504.0
"""The largest float16."""


def rounded_to_half(weight: Array) -> Array:
    """Floats rounded to float16, half to even, in their own dtype; infinite beyond the range of float16."""
    with np.errstate(over="ignore"):
        return weight.astype(np.float16).astype(weight.dtype)


def fits_half(weight: Array) -> bool:
    """Whether float16 holds these floats exactly: each is finite, and ``rounded_to_half`` does not change it."""
    return bool(np.isfinite(weight).all() and np.array_equal(rounded_to_half(weight), weight))
