"""What the routines for Helium (MVE, Armv8.1-M) share: the guard, and how vectors of sums are scaled to int8."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array

GUARD = "defined(__ARM_FEATURE_MVE) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)"
LANES = 4
"""Sums of 32 bits in a vector."""
SAVED = "push {r4-r11, lr}"
RESTORED = "pop {r4-r11, pc}"
SAVED_BYTES = 36
TOP = 24
"""A result of 8 bits is made in the upper byte of a word, where the saturation is that of the word."""


def packed_scaling(scaling: Array) -> Array:
    """Multiplier, addend and shift of channels [..., 3] as the routines take them: of the shift what is left to 24."""
    return np.asarray(np.stack([scaling[..., 0], scaling[..., 1], TOP - scaling[..., 2]], axis=-1).astype(np.int32))


def scaled(sums: list[str], multiplier: str, addend: str, up: str, load: list[str]) -> list[str]:
    """Scale vectors of sums by vectors of scaling, which are loaded on the way by the three lines."""
    return [
        load[0],
        *(f"vmulh.s32 {q}, {q}, {multiplier}" for q in sums),
        load[1],
        *(f"vadd.i32 {q}, {q}, {addend}" for q in sums),
        load[2],
        *(f"vqshl.s32 {q}, {q}, {up}" for q in sums),
        *(f"vshr.s32 {q}, {q}, #{TOP}" for q in sums),
    ]


def twin_scaled(total: str, multiplier: str, addend: str, up: str) -> list[str]:
    """The C that gives ``scaled``, of a sum of int32."""
    return [
        f"const int32_t upper = (int32_t)((int64_t){total} * {multiplier} >> 32) + {addend};",
        f"const int32_t scaled = upper >> ({TOP} - {up});",
        "const int8_t narrow = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);",
    ]


def meant_scaled(acc: Array, multiplier: Array, addend: Array, up: Array) -> Array:
    """What ``scaled`` means, of sums that are int64."""
    return np.asarray(np.clip(((acc * multiplier >> 32) + addend) >> (TOP - up), -128, 127).astype(np.int8))
