"""Routines that unpack weights of four bits or one into a ``stream`` of ``products``, for some groups of channels.

What is unpacked is read by two pixels or by one, so it costs less than the products do. Codes of words of four weights
are side by side in the bits of a word: of four bits, w + 8 of two words, of one bit, (1 - w) / 2 of eight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from graphopt.ir import Array
from graphopt.ops import StoredForm
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.dsp_products import RESTORED, SAVED, SAVED_BYTES, in_twos
from graphopt.targets.instructions.products import BLOCK, packed_bias, packed_weights

CODED_WORDS = {StoredForm.NIBBLES: 2, StoredForm.BITS: 8}
"""Words of weights in one of codes."""
BEYOND = 6
"""So many words behind the last may be overwritten: an even number of words is wanted, and up to eight are made."""


def coded(weight: Array, bias: Array, scaling: Array, lanes: int, form: StoredForm) -> tuple[Array, Array]:
    """Codes [groups, n] and numbers [groups, 4 * lanes] of weights [o, depth], bias [o] and scaling [o, 3 or 0].

    Depth and channels are filled up with weights that have a code; elements beside them must be zeros.
    """
    rows = np.pad(weight, ((0, -len(weight) % lanes), (0, -weight.shape[1] % BLOCK)), constant_values=1)
    starts, scalings = (
        np.pad(data, ((0, len(rows) - len(data)), (0, 0)))
        for data in (bias.astype(np.int64)[:, None], scaling.astype(np.int64))
    )
    starts = packed_bias(rows, starts[:, 0])
    groups = len(rows) // lanes
    numbers = np.hstack([starts.reshape(groups, -1), scalings.reshape(groups, -1)]).astype(np.int32)
    words = rows.reshape(groups, lanes, -1, BLOCK).transpose(0, 2, 1, 3).reshape(groups, -1, BLOCK)
    many, bits = CODED_WORDS[form], 8 // CODED_WORDS[form]
    words = np.pad(words, ((0, 0), (0, -words.shape[1] % many), (0, 0)), constant_values=1).astype(np.int64)
    codes = (words + 8 if form is StoredForm.NIBBLES else (1 - words) // 2).reshape(groups, -1, many, BLOCK)
    packed = (codes << (bits * np.arange(many)[:, None])).sum(axis=2).astype(np.uint8)
    return np.ascontiguousarray(packed).view(np.int32).reshape(groups, -1), numbers


def meant(codes: Array, numbers: Array, words: int, lanes: int, form: StoredForm) -> Array:
    """The stream of ``coded``."""
    many, bits = CODED_WORDS[form], 8 // CODED_WORDS[form]
    raw = np.ascontiguousarray(codes).view(np.uint8).reshape(len(codes), -1, 1, BLOCK).astype(np.int64)
    found = raw >> (bits * np.arange(many)[:, None]) & ((1 << bits) - 1)
    weights = found - 8 if form is StoredForm.NIBBLES else 1 - 2 * found
    packed = packed_weights(weights.reshape(-1, BLOCK)).reshape(len(codes), -1)[:, :words]
    return np.hstack([numbers[:, :lanes], packed, numbers[:, lanes:]]).astype(np.int32).ravel()


def twin(form: StoredForm) -> str:
    many = CODED_WORDS[form]
    weight = {
        StoredForm.NIBBLES: "(int32_t)(code >> (8 * j + 4 * (i & 1)) & 15u) - 8",
        StoredForm.BITS: "1 - 2 * (int32_t)(code >> (8 * j + (i & 7)) & 1u)",
    }[form]
    return f"""\
    for (int32_t group = 0; group < groups; ++group) {{
        for (int32_t i = 0; i < lanes; ++i) {{
            *target++ = *numbers++;
        }}
        for (int32_t i = 0; i < words; ++i) {{
            const uint32_t code = (uint32_t)codes[i / {many}];
            int32_t w[4];
            for (int32_t j = 0; j < 4; ++j) {{
                w[j] = {weight};
            }}
            *target++ = (int32_t)((uint32_t)(256 * w[3] + w[2]) << 16 | ((uint32_t)(256 * w[1] + w[0]) & 0xffffu));
        }}
        codes += (words + {many - 1}) / {many};
        for (int32_t i = 0; i < sums; ++i) {{
            *target++ = *numbers++;
        }}
    }}"""


ONE_CODE = """\
ldr r5, [r1], #4
and r6, r10, r5
and r7, r10, r5, lsr #4
ssub16 r6, r6, r11
ssub16 r7, r7, r11
stm r0!, {r6, r7}
"""
TWO_CODES = """\
ldm r1!, {r5, r9}
and r6, r10, r5
and r7, r10, r5, lsr #4
and r8, r10, r9
and r9, r10, r9, lsr #4
ssub16 r6, r6, r11
ssub16 r7, r7, r11
ssub16 r8, r8, r11
ssub16 r9, r9, r11
stm r0!, {r6-r9}
"""
EIGHT_WORDS = "ldr r5, [r1], #4\n" + "".join(
    "".join(f"and r{6 + i}, r10, r5{move}\n" for i, move in enumerate(moves))
    + "".join(f"ssub16 r{i}, r11, r{i}\n" for i in range(6, 10))
    + "stm r0!, {r6-r9}\n"
    for moves in ((", lsl #1", "", ", lsr #1", ", lsr #2"), (", lsr #3", ", lsr #4", ", lsr #5", ", lsr #6"))
)
UNPACKED = {
    StoredForm.NIBBLES: (
        "mov r10, #0x0f0f0f0f\nmov r11, #0x08080808\n",
        f"lsr r4, r3, #1\n{in_twos('r4', ONE_CODE, TWO_CODES)}",
    ),
    StoredForm.BITS: (
        "mov r10, #0x02020202\nmov r11, #0x01010101\n",
        f"""\
add r4, r0, r3, lsl #2
3:
{EIGHT_WORDS}cmp r0, r4
blt 3b
mov r0, r4
""",
    ),
}
"""The constants, and what unpacks the words of a group."""


def assembly_of(form: StoredForm) -> str:
    constants, unpacked = UNPACKED[form]
    return f"""\
{SAVED}
{constants}ldr r12, [sp, #{SAVED_BYTES}]
1:
mov r4, r12
5:
ldm r2!, {{r5, r6}}
stm r0!, {{r5, r6}}
subs r4, r4, #2
bne 5b
{unpacked}ldr r4, [sp, #{SAVED_BYTES + 4}]
cbz r4, 7f
6:
ldm r2!, {{r5, r6}}
stm r0!, {{r5, r6}}
subs r4, r4, #2
bne 6b
7:
ldr r4, [sp, #{SAVED_BYTES + 8}]
subs r4, r4, #1
str r4, [sp, #{SAVED_BYTES + 8}]
bne 1b
{RESTORED}"""


def unpacking_routine(
    name: str,
    form: StoredForm,
    body: str,
    meaning: Callable[..., Array],
    comment: str,
    beyond: int,
    apart: bool = False,
    counts: Mapping[str, str] | None = None,
) -> Instruction:
    """A routine that makes a stream of codes and numbers, and may write so many words ``beyond`` it."""
    many = CODED_WORDS[form]
    operands = {"target": "int32*", "codes": "const int32*", "numbers": "const int32*"}
    return instruction(
        Instruction(
            name,
            None,
            operands | dict.fromkeys(("words", "lanes", "sums", "groups"), "int32"),
            "void",
            body,
            meaning,
            comment=comment,
            apart=apart,
            spans={
                "target": Span(f"4 * (lanes + words + sums) * groups + {4 * beyond}"),
                "codes": Span(f"4 * ((words + {many - 1}) / {many}) * groups"),
                "numbers": Span("4 * (lanes + sums) * groups"),
            },
            counts=counts or {},
        )
    )


def unpacking(form: StoredForm) -> Instruction:
    comment = """\
Groups of weights and numbers for the routines that multiply: of each group so many numbers as it has lanes, words of
   unpacked weights, and the other numbers; all of these are even."""
    name, meaning = f"unpack_{form.name.lower()}", partial(meant, form=form)
    portable = unpacking_routine(name, form, twin(form), meaning, comment, BEYOND)
    portable.on("dsp", assembly_of(form), guard=GUARD, naked=True)
    return portable


UNPACK = {form: unpacking(form) for form in CODED_WORDS}
