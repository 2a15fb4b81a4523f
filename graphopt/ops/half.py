"""Weights that take two bytes: the numbers of float16 that are zero or normal.

Layers with ``half`` set compute as any other; their programs store weights in 16 bits where that loses nothing, and
in 32 where it would. So whatever rewrites the weights of such a layer stays right. Subnormal numbers are left out: to
widen the others takes a shift and an addition of integers, the same on every core, whether or not it flushes to zero.
"""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array

HALF_SMALLEST = 2.0**-14
"""The smallest normal float16."""

HALF_LARGEST = 65504.0


def rounded_to_half(weight: Array) -> Array:
    """Floats rounded to float16, half to even, in their own dtype; what is then below 2^-14 is zero.

    The magnitude of what is beyond 65504 becomes infinite.
    """
    with np.errstate(over="ignore"):
        near = weight.astype(np.float16).astype(weight.dtype)
    return np.asarray(np.where(np.abs(near) < HALF_SMALLEST, np.zeros((), weight.dtype), near))


def fits_half(weight: Array) -> bool:
    """Whether 16 bits hold these floats exactly: each is finite and what ``rounded_to_half`` makes of it."""
    return bool(np.isfinite(weight).all() and np.array_equal(rounded_to_half(weight), weight))
