"""Integer weights with scales on two levels: one for each output channel, and a factor for each group of its inputs.

w = q * factor with |q| <= 7 and factors from 1 to 18. So w fits int8 and integer products do not change, but a weight
takes four bits and a group one byte of storage (VS-Quant, Dai et al., 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array

__all__ = ["SCALE_GROUP", "factors_of", "two_level"]

SCALE_GROUP = 16
"""The input channels that share a factor."""
LARGEST_FACTOR = 127 // 7


def factors_shape(shape: Sequence[int]) -> tuple[int, int]:
    """The factors of weights [o, c, ...]: [o, groups]."""
    return shape[0], -(-shape[1] // SCALE_GROUP)


def in_groups(weight: Array) -> Array:
    """Weights [o, c, ...] as [o, groups, elements]; zeros fill up the last group."""
    padded = np.pad(weight, [(0, 0), (0, -weight.shape[1] % SCALE_GROUP), *[(0, 0)] * (weight.ndim - 2)])
    return padded.reshape(*factors_shape(weight.shape), -1)


def over_channels(factors: Array, weight: Array) -> Array:
    """Factors [o, groups] in a shape that broadcasts to the weights."""
    wide = np.repeat(factors, SCALE_GROUP, axis=1)[:, : weight.shape[1]]
    return wide.reshape(*wide.shape, *[1] * (weight.ndim - 2))


def factors_of(weight: Array) -> Array | None:
    """The factors, uint8 [o, groups], of int8 weights; None if they have none, or less than ``SCALE_GROUP`` inputs."""
    if weight.ndim < 2 or weight.shape[1] < SCALE_GROUP:
        return None
    groups = in_groups(weight).astype(np.int16)
    found = np.zeros(groups.shape[:2], np.uint8)
    for factor in range(LARGEST_FACTOR, 0, -1):
        fits = np.all((groups % factor == 0) & (np.abs(groups) <= 7 * factor), axis=2)
        found[fits] = factor
    return found if found.all() else None


def two_level(steps: Array) -> Array:
    """Real weights, in steps of their channel's scale, as int8 with factors: for each group that of least error."""
    groups = in_groups(steps)
    candidates = [np.clip(np.rint(groups / f), -7, 7) * f for f in range(1, LARGEST_FACTOR + 1)]
    errors = np.stack([np.square(c - groups).sum(axis=2) for c in candidates])
    factors = over_channels(errors.argmin(axis=0) + 1, steps)
    return np.asarray(np.clip(np.rint(steps / factors), -7, 7) * factors).astype("int8")
