"""Routines that widen rows of elements of 8 bits, signed or not, or by a table of bytes, to 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.dsp import GUARD

WIDEN_ROWS: dict[str, Instruction] = {}
"""By the dtype of elements, or of the elements of a table by bytes."""
WIDEN_TWO: dict[str, Instruction] = {}
"""By the dtype of elements."""
TABLE = "table"


def widening_rows(loaded: Callable[[str, str], list[str]], table: bool) -> str:
    """The assembly by the lines that load an element into a register from an address; a table is at r10."""
    saved = "r4-r10" if table else "r4-r9"
    first = 4 * (8 if table else 7)
    four = zip(("r4", "r5", "r6", "r7"), ("[r1]", "[r1, r2]", "[r1, r2, lsl #1]", "[r1, r12]"), strict=True)
    return "\n".join(
        [
            f"push {{{saved}, lr}}",
            f"ldrd r8, r9, [sp, #{first}]",
            *([f"ldr r10, [sp, #{first + 8}]"] if table else []),
            "add r12, r2, r2, lsl #1",
            "1:",
            "subs lr, r3, #4",
            "blt 3f",
            "2:",
            *(line for register, address in four for line in loaded(register, address)),
            "add r1, r1, r2, lsl #2",
            "pkhbt r4, r4, r5, lsl #16",
            "pkhbt r6, r6, r7, lsl #16",
            "str r4, [r0], #4",
            "str r6, [r0], #4",
            "subs lr, lr, #4",
            "bge 2b",
            "3:",
            "adds lr, lr, #4",
            "beq 5f",
            "4:",
            *loaded("r4", "[r1]"),
            "add r1, r1, r2",
            "strh r4, [r0], #2",
            "subs lr, lr, #1",
            "bne 4b",
            "5:",
            "add r0, r0, r9, lsl #1",
            "subs r8, r8, #1",
            "bne 1b",
            f"pop {{{saved}, pc}}",
        ]
    )


ROWS_WIDENED = """\
    for (int32_t line = 0; line < lines; ++line) {
        for (int32_t i = 0; i < width; ++i, source += step) {
            *target++ = *source;
        }
        target += gap;
    }"""


def by_one(register: str, address: str, load: str) -> list[str]:
    return [f"{load} {register}, {address}"]


def by_table(register: str, address: str) -> list[str]:
    return [f"ldrb {register}, {address}", f"ldrsb {register}, [r10, {register}]"]


for _dtype, _suffix, _load, _extend in (("int8", "", "ldrsb", "sxtb16"), ("uint8", "_of_bytes", "ldrb", "uxtb16")):
    WIDEN_ROWS[_dtype] = instruction(
        Instruction(
            f"widen_rows{_suffix}",
            None,
            {
                "target": "int16*",
                "source": f"const {_dtype}*",
                "step": "int32",
                "width": "int32",
                "lines": "int32",
                "gap": "int32",
            },
            "void",
            ROWS_WIDENED,
            lambda source: source.astype(np.int16),
            comment="Widens elements that are step apart to rows, with a gap behind each.",
            spans={
                "target": Span("2 * width", (("lines", "2 * (width + gap)"),)),
                "source": Span("1", (("lines * width", "step"),)),
            },
            alike="widen_rows",
        )
    )
    WIDEN_TWO[_dtype] = instruction(
        Instruction(
            f"widen_two{_suffix}",
            None,
            {
                "first": "int16*",
                "second": "int16*",
                "source": f"const {_dtype}*",
                **dict.fromkeys(("step", "width", "lines", "gap"), "int32"),
            },
            "void",
            """\
    for (int32_t line = 0; line < lines; ++line) {
        for (int32_t i = 0; i < width; ++i, source += step) {
            *first++ = source[0];
            *second++ = source[1];
        }
        first += gap;
        second += gap;
    }""",
            lambda source: source.astype(np.int16),
            comment="""\
Widens pairs of elements that are step apart to rows of the first and the second, with gaps behind.""",
            spans={
                **dict.fromkeys(("first", "second"), Span("2 * width", (("lines", "2 * (width + gap)"),))),
                "source": Span("2", (("lines * width", "step"),)),
            },
            alike="widen_two",
        )
    )
    WIDEN_ROWS[_dtype].on(
        "dsp",
        widening_rows(partial(by_one, load=_load), table=False),
        guard=GUARD,
        naked=True,
    )
    WIDEN_TWO[_dtype].on(
        "dsp",
        f"""\
push {{r4-r10, lr}}
ldrd r10, r8, [sp, #32]
ldr r9, [sp, #40]
add r12, r3, r3, lsl #1
1:
subs lr, r10, #4
blt 3f
2:
ldrh r4, [r2]
ldrh r5, [r2, r3]
ldrh r6, [r2, r3, lsl #1]
ldrh r7, [r2, r12]
add r2, r2, r3, lsl #2
orr r4, r4, r5, lsl #16
orr r6, r6, r7, lsl #16
{_extend} r5, r4
{_extend} r4, r4, ror #8
{_extend} r7, r6
{_extend} r6, r6, ror #8
str r5, [r0], #4
str r4, [r1], #4
str r7, [r0], #4
str r6, [r1], #4
subs lr, lr, #4
bge 2b
3:
adds lr, lr, #4
beq 5f
4:
{_load} r4, [r2]
{_load} r5, [r2, #1]
add r2, r2, r3
strh r4, [r0], #2
strh r5, [r1], #2
subs lr, lr, #1
bne 4b
5:
add r0, r0, r9, lsl #1
add r1, r1, r9, lsl #1
subs r8, r8, #1
bne 1b
pop {{r4-r10, pc}}""",
        guard=GUARD,
        naked=True,
    )

_bytes = WIDEN_ROWS["uint8"]
WIDEN_ROWS[TABLE] = instruction(
    replace(
        _bytes,
        name="look_up_rows",
        operands={**_bytes.operands, "table": "const int8*"},
        body=_bytes.body.replace("*source", "table[*source]"),
        meaning=lambda source, table: table[source].astype(np.int16),
        comment="Widens the elements of a table by bytes that are step apart to rows, with a gap behind each.",
        spans={**_bytes.spans, "table": Span("256")},
        alike="",
        counts={"1": "lines", "2": "lines * (width / 4)", "4": "lines * (width % 4)"},
    )
)
WIDEN_ROWS[TABLE].on("dsp", widening_rows(by_table, table=True), guard=GUARD, naked=True)
