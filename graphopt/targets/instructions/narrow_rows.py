"""Rows of few elements, widened to 16 bits without a loop over the elements: one routine for each width."""

from __future__ import annotations

from functools import cache

import numpy as np

from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.dsp_products import RESTORED, SAVED, SAVED_BYTES
from graphopt.targets.instructions.widening import ROWS_WIDENED

MOST_WIDTH = 6
"""Elements of a row: each, and the next row, has an address that needs no instruction of its own."""
ADDRESSES = ("", ", r2", ", r2, lsl #1", ", r3", ", r2, lsl #2", ", r12", ", r3, lsl #1")
"""Where elements are behind r1, with the step in r2, three times that in r3 and five times in r12."""


@cache
def widen_narrow(width: int) -> Instruction:
    """The routine that does what ``widen_rows`` does, for rows of ``width`` elements."""
    portable = instruction(
        Instruction(
            f"widen_rows_of_{width}",
            None,
            {
                "target": "int16*",
                "source": "const int8*",
                **dict.fromkeys(("step", "width", "lines", "gap"), "int32"),
            },
            "void",
            ROWS_WIDENED,
            lambda source: source.astype(np.int16),
            comment=f"Widens elements that are step apart to rows, with a gap behind each; the width is {width}.",
            spans={
                "target": Span(f"2 * {width}", (("lines", f"2 * ({width} + gap)"),)),
                "source": Span("1", ((f"lines * {width}", "step"),)),
            },
        )
    )
    portable.on("dsp", assembly_of(width), guard=GUARD, naked=True)
    return portable


def assembly_of(width: int) -> str:
    elements = [f"r{4 + i}" for i in range(width)]
    lines = [
        SAVED,
        f"ldrd lr, r11, [sp, #{SAVED_BYTES}]",
        f"add r11, r11, #{width}",
        "lsl r11, r11, #1",
        "add r3, r2, r2, lsl #1",
        "add r12, r2, r2, lsl #2",
        "1:",
        *(f"ldrsb {one}, [r1{at}]" for one, at in zip(elements, ADDRESSES, strict=False)),
        f"add r1, r1{ADDRESSES[width]}",
        *(f"pkhbt {low}, {low}, {high}, lsl #16" for low, high in zip(elements[::2], elements[1::2], strict=False)),
        *(f"str{'h' * (i == width - 1)} {elements[i]}, [r0, #{2 * i}]" for i in range(0, width, 2)),
        "add r0, r0, r11",
        "subs lr, lr, #1",
        "bne 1b",
        RESTORED,
    ]
    return "\n".join(lines)
