"""Weights that take two bytes: numbers of float16.

Layers with ``half`` set compute as any other; their programs store weights in 16 bits where that loses nothing, and
in 32 where it would. So whatever rewrites the weights of such a layer stays right.
"""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array

__all__ = ["HALF_LARGEST", "fits_half", "rounded_to_half"]

HALF_LARGEST = 65504.0
"""The largest float16."""


def rounded_to_half(weight: Array) -> Array:
    """Floats rounded to float16, half to even, in their own dtype; infinite where float16 ends."""
    with np.errstate(over="ignore"):
        return weight.astype(np.float16).astype(weight.dtype)


def fits_half(weight: Array) -> bool:
    """Whether 16 bits hold these floats exactly: each is finite and what ``rounded_to_half`` makes of it."""
    return bool(np.isfinite(weight).all() and np.array_equal(rounded_to_half(weight), weight))
