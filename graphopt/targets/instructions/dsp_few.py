"""Routines of products of a row of few elements for cores with DSP: the elements stay in registers, and rows pass by.

There is one for each number of elements and each shift, made where a kernel asks for it. All rows have one shift, which
is a part of the saturation.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.dsp_products import RESTORED, SAVED, scaled
from graphopt.targets.instructions.products import halves, pair

MOST_ELEMENTS = 8
"""Of two in a word, beside the numbers of a row."""
TURN = 4
"""Rows in a turn."""


def words_of(elements: int) -> int:
    return -(-elements // 2)


def stream(weight: Array, bias: Array, scaling: Array) -> Array:
    """All words that a routine reads: of each row its bias, its weights in pairs, a multiplier and an addend.

    weight [rows, elements] of 16 bits, bias [rows], scaling [rows, 2]. Rows are filled up to turns with zeros.
    """
    rows = np.pad(weight, ((0, 0), (0, weight.shape[1] % 2)))
    parts = [bias[:, None], pair(rows[:, ::2], rows[:, 1::2]), scaling]
    return np.pad(np.concatenate(parts, axis=1).astype(np.int32), ((0, -len(rows) % TURN), (0, 0))).ravel()


def meant(x: Array, w: Array, shift: int) -> Array:
    """The results, int16 [rows], of elements [an even number] int8 and a ``stream``."""
    rows = w.reshape(-1, len(x) // 2 + 3).astype(np.int64)
    weights = halves(rows[:, 1:-2].astype(np.int32)).reshape(len(rows), -1)
    acc = rows[:, 0] + weights @ x.astype(np.int64)
    limits = np.iinfo(np.int16)
    return np.asarray(np.clip(((acc * rows[:, -2] >> 32) + rows[:, -1]) >> shift, *(limits.min, limits.max)), np.int16)


@cache
def few_routine(words: int, shift: int) -> Instruction:
    """The routine of so many pairs of elements."""
    sums = " + ".join(f"x[{2 * i}] * (int16_t)w[{1 + i}] + x[{2 * i + 1}] * (w[{1 + i}] >> 16)" for i in range(words))
    portable = instruction(
        Instruction(
            f"scale_few_{words}_down_{shift}",
            None,
            {"x": "const int8*", "w": "const int32*", "y": "int16*", "turns": "int32"},
            "void",
            f"""\
    for (int32_t i = 0; i < {TURN} * turns; ++i, w += {words + 3}) {{
        const int32_t sum = w[0] + {sums};
        const int32_t scaled = ((int32_t)((int64_t)sum * w[{words + 1}] >> 32) + w[{words + 2}]) >> {shift};
        y[i] = (int16_t)(scaled < -32768 ? -32768 : scaled > 32767 ? 32767 : scaled);
    }}""",
            lambda x, w: meant(x, w, shift),
            comment=f"Sums of products of {2 * words} elements x and wide weights w, each scaled to 16 bits.",
            depth=2,
            spans={
                "x": Span(str(2 * words)),
                "w": Span(f"{4 * TURN * (words + 3)} * turns"),
                "y": Span(f"{2 * TURN} * turns"),
            },
        )
    )
    portable.on("dsp", assembly_of(words, shift), guard=GUARD, naked=True)
    return portable


def assembly_of(words: int, shift: int) -> str:
    """r0 points to elements and then to results, which end at r2; of a row, r3 has the sum."""
    elements, free = [f"r{4 + i}" for i in range(words)], [*(f"r{i}" for i in range(4 + words, 13)), "lr"]
    weights, (multiplier, addend) = free[:words], free[words : words + 2]
    row = [
        f"ldm r1!, {{r3, {', '.join([*weights, multiplier, addend])}}}",
        *(f"smlad r3, {x}, {w}, r3" for x, w in zip(elements, weights, strict=True)),
        *scaled("r3", multiplier, addend, shift, 16),
        "strh r3, [r0], #2",
    ]
    return "\n".join(
        [
            SAVED,
            *(
                line
                for i, element in enumerate(elements)
                for line in (
                    f"ldrsb {element}, [r0, #{2 * i}]",
                    f"ldrsb r12, [r0, #{2 * i + 1}]",
                    f"pkhbt {element}, {element}, r12, lsl #16",
                )
            ),
            "mov r0, r2",
            f"add r2, r2, r3, lsl #{(2 * TURN).bit_length() - 1}",
            "1:",
            *row * TURN,
            "cmp r0, r2",
            "bne 1b",
            RESTORED,
        ]
    )
