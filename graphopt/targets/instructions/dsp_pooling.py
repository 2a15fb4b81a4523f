"""The routine of ``mve_pooling`` that sums windows, with the DSP extension: four channels in halves of words."""

from __future__ import annotations

from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.dsp_products import SAVED_BYTES, scaled
from graphopt.targets.instructions.mve import TOP
from graphopt.targets.instructions.mve_pooling import SUM_WINDOW_SCALED, UP

LANES = 4
STEP, ROWS, COLUMNS, START, CHANNELS = (SAVED_BYTES + 8 + 4 * i for i in range(5))
"""Places on the stack, on which the numbers and the pitch come first."""
SUMS = ["r4", "r5", "r6", "r7"]
WORD = "ldr r3, [r2]\nadd r2, r2, r9\nsxtab16 r11, r11, r3\nsxtab16 r12, r12, r3, ror #8\n"
NUMBERS = f"ldr r2, [sp]\nldm r2, {{r9-r11}}\nrsb r11, r11, #{TOP}\n"


def stored(total: str) -> str:
    """Scale a sum by the numbers and store it."""
    lines = [f"lsl {total}, {total}, #{UP}", *scaled(total, "r9", "r10", "r11"), f"strb {total}, [r1], #1", ""]
    return "\n".join(lines)


SUM_WINDOW_SCALED.on(
    "dsp",
    f"""\
push {{r2-r11, lr}}
1:
ldr r4, [sp, #{CHANNELS}]
subs r4, r4, #{LANES}
blt 7f
str r4, [sp, #{CHANNELS}]
ldr r4, [sp, #{START}]
mov r5, r4
mov r6, r4
mov r7, r4
ldr r8, [sp, #{ROWS}]
ldr r9, [sp, #{STEP}]
mov r10, r0
2:
mov r11, #0
mov r12, #0
mov r2, r10
ldr lr, [sp, #{COLUMNS}]
subs lr, lr, #4
blt 4f
3:
{WORD * 4}subs lr, lr, #4
bge 3b
4:
adds lr, lr, #4
beq 6f
5:
{WORD}subs lr, lr, #1
bne 5b
6:
sxtah r4, r4, r11
sxtah r5, r5, r12
sxtah r6, r6, r11, ror #16
sxtah r7, r7, r12, ror #16
ldr r3, [sp, #4]
add r10, r10, r3
subs r8, r8, #1
bne 2b
{NUMBERS}{"".join(map(stored, SUMS))}add r0, r0, #{LANES}
b 1b
7:
adds r4, r4, #{LANES}
beq 9f
str r4, [sp, #{CHANNELS}]
ldr r5, [sp, #{START}]
ldr r8, [sp, #{ROWS}]
ldr r9, [sp, #{STEP}]
ldr r3, [sp, #4]
mov r10, r0
8:
mov r2, r10
ldr lr, [sp, #{COLUMNS}]
subs lr, lr, #1
blt 4f
3:
ldrsb r12, [r2]
add r2, r2, r9
add r5, r5, r12
subs lr, lr, #1
bge 3b
4:
add r10, r10, r3
subs r8, r8, #1
bne 8b
{NUMBERS}{stored("r5")}add r0, r0, #1
ldr r4, [sp, #{CHANNELS}]
sub r4, r4, #1
subs r4, r4, #{LANES}
b 7b
9:
pop {{r2-r11, pc}}""",
    guard=GUARD,
    naked=True,
)
