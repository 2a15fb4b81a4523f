"""Routines for Helium that pool a window of pixels, channel by channel: sums that are scaled to int8, and maxima."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.mve import GUARD, RESTORED, SAVED, SAVED_BYTES, meant_scaled, twin_scaled

MOST_COLUMNS = 256
"""Of a row of int8, so many fit a sum of 16 bits."""
UP = 8
"""By so many bits sums are shifted up where they are widened: so the upper half of a product scales any mean."""

WINDOW = {"pitch": "int32", "step": "int32", "rows": "int32", "columns": "int32"}
READ = Span("channels", (("rows", "pitch"), ("columns", "step")))


WORD = 4
"""Channels that the DSP extension sums at once, by four columns in a turn; those that are left go one by one."""


def counts(turns: str, name: str) -> dict[str, str]:
    """What costs are linear in, where so many turns go over channels."""
    return {name: turns, f"rows of {name}": f"{turns} * rows", f"columns of {name}": f"{turns} * rows * columns"}


def counts_of_words() -> dict[str, str]:
    """The same with the DSP extension."""
    fours = {"fours": f"channels / {WORD} * rows * (columns / 4)"}
    return counts(f"channels / {WORD}", "words") | counts(f"(channels % {WORD})", "channels left") | fours


def meant_sum(windows: Array, start: int, numbers: Array) -> Array:
    """Of windows [..., pixels, channels]."""
    acc = windows.astype(np.int64).sum(axis=-2) + start << UP
    return meant_scaled(acc, *(np.array(int(n)) for n in numbers))


SUM_WINDOW_SCALED = instruction(
    Instruction(
        "sum_window_scaled",
        None,
        {
            "x": "const int8*",
            "y": "int8*",
            "numbers": "const int32*",
            **WINDOW,
            "start": "int32",
            "channels": "int32",
        },
        "void",
        "\n".join(
            [
                "    for (int32_t c = 0; c < channels; ++c) {",
                "        int32_t sum = start;",
                "        for (int32_t i = 0; i < rows * columns; ++i) {",
                "            sum += x[i / columns * pitch + i % columns * step + c];",
                "        }",
                *(
                    f"        {line}"
                    for line in twin_scaled(f"(sum * {1 << UP})", "numbers[0]", "numbers[1]", "numbers[2]")
                ),
                "        y[c] = narrow;",
                "    }",
            ]
        ),
        meant_sum,
        comment="""\
Sums of each channel over rows that are pitch apart, and columns that are step apart, at most 256; they begin with start
   and are scaled to 8 bits, 256 times.""",
        lanes=8,
        spans={"x": READ, "y": Span("channels"), "numbers": Span("12")},
        counts=counts("((channels + 7) / 8)", "vectors") | counts_of_words(),
    )
)

SUM_WINDOW_SCALED.on(
    "mve",
    f"""\
{SAVED}
ldrd r9, r10, [r2]
ldr r11, [r2, #8]
ldrd r4, r5, [sp, #{SAVED_BYTES}]
ldr r6, [sp, #{SAVED_BYTES + 8}]
ldr r8, [sp, #{SAVED_BYTES + 16}]
1:
vctp.16 r8
ldr r7, [sp, #{SAVED_BYTES + 12}]
lsl r7, r7, #{UP}
vdup.32 q2, r7
vmov q3, q2
mov r12, r0
mov r7, r5
2:
mov r2, r12
vmov.i16 q0, #0
wls lr, r6, 4f
3:
vpst
vldrbt.s16 q1, [r2]
add r2, r2, r4
vadd.i16 q0, q0, q1
le lr, 3b
4:
add r12, r12, r3
vshllb.s16 q1, q0, #{UP}
vadd.i32 q2, q2, q1
vshllt.s16 q1, q0, #{UP}
vadd.i32 q3, q3, q1
subs r7, r7, #1
bne 2b
vdup.32 q0, r9
vmulh.s32 q2, q2, q0
vmulh.s32 q3, q3, q0
vadd.i32 q2, q2, r10
vadd.i32 q3, q3, r10
vqshl.s32 q2, r11
vqshl.s32 q3, r11
vshr.u32 q3, q3, #8
vsri.32 q3, q2, #24
vpst
vstrbt.16 q3, [r1], #8
add r0, r0, #8
subs r8, r8, #8
bgt 1b
{RESTORED}""",
    guard=GUARD,
    naked=True,
)

LARGEST_OF_WINDOW = instruction(
    Instruction(
        "largest_of_window",
        None,
        {"x": "const int8*", "y": "int8*", **WINDOW, "channels": "int32"},
        "void",
        """\
    for (int32_t c = 0; c < channels; ++c) {
        int8_t most = -128;
        for (int32_t i = 0; i < rows * columns; ++i) {
            const int8_t one = x[i / columns * pitch + i % columns * step + c];
            most = one > most ? one : most;
        }
        y[c] = most;
    }""",
        lambda windows: windows.max(axis=-2),
        comment="The largest element of each channel, of rows that are pitch apart and columns that are step apart.",
        lanes=16,
        spans={"x": READ, "y": Span("channels")},
        counts=counts("((channels + 15) / 16)", "vectors"),
    )
)

LARGEST_OF_WINDOW.on(
    "mve",
    """\
push {r4-r8, lr}
ldrd r4, r5, [sp, #24]
ldr r6, [sp, #32]
1:
vctp.8 r6
vmov.i8 q0, #128
mov r7, r0
mov r8, r4
2:
mov r12, r7
wls lr, r5, 4f
3:
vpst
vldrbt.u8 q1, [r12]
add r12, r12, r3
vmax.s8 q0, q0, q1
le lr, 3b
4:
add r7, r7, r2
subs r8, r8, #1
bne 2b
vpst
vstrbt.8 q0, [r1], #16
add r0, r0, #16
subs r6, r6, #16
bgt 1b
pop {r4-r8, pc}""",
    guard=GUARD,
    naked=True,
)
