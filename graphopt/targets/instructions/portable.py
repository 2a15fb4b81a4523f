"""What C lacks, in C that every compiler takes."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.c_types import C_TYPES
from graphopt.targets.instructions.base import Instruction, instruction

MULTIPLY_ADD = instruction(
    Instruction(
        "multiply_add",
        None,
        {"a": "float32", "b": "float32", "c": "float32"},
        "float32",
        """\
#if defined(__ARM_FEATURE_FMA) || defined(__FMA__)
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif""",
        lambda a, b, c: a * b + c,
        # where the product has 24 bits, it is the same with one rounding and with two
        defined=lambda a, b, c: a.astype(np.float64) * b == (a * b).astype(np.float64),
        comment="One rounding where the hardware has a fused multiply-add, two where it has not.",
        depth=1,
        includes=("math.h",),
    )
)

FLOAT_OF_HALF = instruction(
    Instruction(
        "float_of_half",
        None,
        {"half": "uint16"},
        "float32",
        """\
#if defined(__ARM_FP16_FORMAT_IEEE) && defined(__ARM_FP)
    const union {
        uint16_t bits;
        __fp16 value;
    } narrow = {half};
    return narrow.value;
#else
    const uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
    union {
        uint32_t bits;
        float value;
    } wide = {magnitude + (UINT32_C(112) << 23)};
    if (magnitude < UINT32_C(1) << 23) {
        wide.bits += UINT32_C(1) << 23;
        wide.value -= 6.103515625e-05f;
    }
    wide.bits |= (uint32_t)(half & 0x8000u) << 16;
    return wide.value;
#endif""",
        lambda half: half.view(np.float16).astype(np.float32),
        defined=lambda half: np.isfinite(half.view(np.float16)),
        comment="""\
The float of the bits of a float16 that is finite. In integers its fields are moved and its exponent is biased by 112
   more; if it is 0 or subnormal, a leading one is put in front, and subtracted.""",
    )
)


def is_requantize(acc: Array, multiplier: Array, shift: Array, zero_point: Array, low: Array, high: Array) -> Array:
    limits = [np.abs(n.astype(np.int64)) < 1 << 16 for n in (zero_point, low, high)]
    return np.asarray(np.logical_and.reduce([shift >= 1, shift <= 62, low <= high, *limits]))


def requantized(acc: Array, multiplier: Array, shift: Array, zero_point: Array, low: Array, high: Array) -> Array:
    t = shift.astype(np.int64)
    scaled = (acc.astype(np.int64) * multiplier + (np.int64(1) << (t - 1))) >> t
    return np.asarray(np.clip(scaled + zero_point, low, high))


def upper(a: Array, b: Array, c: Array) -> Array:
    return np.asarray((a.astype(np.int64) * b >> 32) + c)


REQUANTIZE = instruction(
    Instruction(
        "requantize",
        None,
        dict.fromkeys(("acc", "multiplier", "shift", "zero_point", "low", "high"), "int32"),
        "int32",
        """\
    const int64_t product = (int64_t)acc * multiplier;
    if (shift > 32) {
        const int32_t upper = (int32_t)(product >> 32) + ((int32_t)1 << (shift - 33));
        const int32_t scaled = (upper >> (shift - 32)) + zero_point;
        return scaled < low ? low : scaled > high ? high : scaled;
    }
    const int64_t wide = ((product + ((int64_t)1 << (shift - 1))) >> shift) + zero_point;
    return (int32_t)(wide < low ? low : wide > high ? high : wide);""",
        requantized,
        defined=is_requantize,
        comment="""\
zero_point + acc * multiplier / 2^shift, halves rounded up, in [low, high]. A right shift of a negative number is
   arithmetic, as every compiler has it. Of a shift beyond 32 the lower half of the product takes no part.""",
        depth=1,
    )
)

MULTIPLY_UPPER = instruction(
    Instruction(
        "multiply_upper",
        None,
        {"a": "int32", "b": "int32", "c": "int32"},
        "int32",
        "    return (int32_t)(((int64_t)a * b) >> 32) + c;",
        upper,
        defined=lambda a, b, c: np.abs(upper(a, b, c)) < 1 << 31,
        comment="The upper half of a * b in 64 bits, plus c.",
        depth=1,
    )
)

COUNT_ONES = instruction(
    Instruction(
        "count_ones",
        None,
        {"word": "uint32"},
        "uint32",
        """\
    word -= (word >> 1) & 0x55555555u;
    word = (word & 0x33333333u) + ((word >> 2) & 0x33333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0fu;
    return (word * 0x01010101u) >> 24;""",
        lambda word: np.asarray(np.unpackbits(word.view(np.uint8).reshape(-1, 4), axis=1).sum(axis=1)),
    )
)

for _dtype in C_TYPES:
    for _name, _sign, _compare in (("min", "<", np.less), ("max", ">", np.greater)):
        instruction(
            Instruction(
                f"{_name}_{_dtype}",
                None,
                {"a": _dtype, "b": _dtype},
                _dtype,
                f"    return a {_sign} b ? a : b;",
                lambda a, b, compare=_compare: np.asarray(np.where(compare(a, b), a, b)),
            )
        )
