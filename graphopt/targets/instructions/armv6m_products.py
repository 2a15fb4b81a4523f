"""Sums of many products on ARMv6-M, which multiplies low registers alone: four channels of one window at a time."""

from __future__ import annotations

from graphopt.targets.instructions.thumb_products import LANES, UNROLLED, enter, routines

GUARD = "defined(__ARM_ARCH_6M__) && !defined(__ARM_BIG_ENDIAN)"
SAVED = """\
.syntax unified
push {r4-r7, lr}
mov r4, r8
mov r5, r9
mov r6, r10
mov r7, r11
push {r4-r7}"""
"""GCC has the older syntax within assembly for this instruction set, unless it is told."""
RESTORED = """\
pop {r4-r7}
mov r8, r4
mov r9, r5
mov r10, r6
mov r11, r7
pop {r4-r7, pc}"""
SAVED_BYTES = 36

SUMS = ["r8", "r9", "r10", "r11"]
WEIGHTS = ["r1", "r5", "r6", "r7"]
"""Where the weights of each channel end; r0 is where the window does, and the index r2 goes up to 0."""
ENTRY = "r12"
FOUND, Y, LEFT, DEPTH, CHANNELS, X, STREAM, RESULT, STEP = 0, 16, 20, 24, 28, 32, 36, 40, 44
"""Places on the stack: four sums, the next result, the channels to do; and what stays: depth, channels, where the
window ends, the stream, the results of the window, and the step of windows."""
FRAME = 48
ARGUMENTS = SAVED_BYTES + FRAME
Y_STEP, PIXELS = ARGUMENTS, ARGUMENTS + 4


def products(load: str) -> list[str]:
    """Of one element, two bytes each instruction."""
    return [
        f"{load} r3, [r0, r2]",
        *(
            line
            for weights, total in zip(WEIGHTS, SUMS, strict=True)
            for line in (f"ldrsb r4, [{weights}, r2]", "muls r4, r3, r4", f"add {total}, r4")
        ),
        "adds r2, r2, #1",
    ]


UPPER = """\
uxth r3, r4
asrs r4, r4, #16
uxth r2, r0
asrs r0, r0, #16
movs r1, r2
muls r1, r3, r1
lsrs r1, r1, #16
muls r3, r0, r3
adds r3, r3, r1
muls r2, r4, r2
uxth r1, r3
adds r2, r2, r1
muls r4, r0, r4
asrs r3, r3, #16
asrs r2, r2, #16
adds r4, r4, r3
adds r4, r4, r2"""
"""Makes r4 the upper half of r4 times r0, a product of 64 bits, of four of 16; takes r0 to r3."""
NARROWED = """\
adds r4, r4, r0
asrs r4, r4, r1
sxtb r0, r4
cmp r0, r4
beq 4f
asrs r4, r4, #31
movs r0, #127
eors r0, r0, r4
4:
strb r0, [r6]"""
"""Stores r4, plus the addend r0, shifted by r1, in 8 bits."""


def prologue(several: bool, load: str) -> list[str]:
    """Puts on the stack what stays there."""
    depth = [f"ldr r4, [sp, #{ARGUMENTS + 8}]", f"ldr r5, [sp, #{ARGUMENTS + 12}]", f"str r3, [sp, #{STEP}]"]
    return [
        SAVED,
        f"sub sp, #{FRAME}",
        *(depth if several else ["movs r4, r3", f"ldr r5, [sp, #{ARGUMENTS}]"]),
        f"str r4, [sp, #{DEPTH}]",
        f"str r5, [sp, #{CHANNELS}]",
        "adds r0, r0, r4",
        f"str r0, [sp, #{X}]",
        f"str r1, [sp, #{STREAM}]",
        f"str r2, [sp, #{RESULT}]",
        # the first turn does what the others leave of the depth
        "rsbs r4, r4, #0",
        f"movs r5, #{UNROLLED - 1}",
        "ands r4, r4, r5",
        f"movs r5, #{2 * len(products(load))}",
        "muls r4, r5, r4",
        "adr r5, 2f",
        "adds r4, r4, r5",
        "adds r4, r4, #1",
        f"mov {ENTRY}, r4",
    ]


def next_window(size: int) -> str:
    """Goes on to the next window, whose results are y_step elements of ``size`` bytes further on."""
    return f"""\
ldr r4, [sp, #{PIXELS}]
subs r4, r4, #1
beq 6f
str r4, [sp, #{PIXELS}]
ldr r0, [sp, #{X}]
ldr r1, [sp, #{STEP}]
adds r0, r0, r1
str r0, [sp, #{X}]
ldr r2, [sp, #{RESULT}]
ldr r1, [sp, #{Y_STEP}]
lsls r1, r1, #{size.bit_length() - 1}
adds r2, r2, r1
str r2, [sp, #{RESULT}]
b 0b
6:"""


def assembly_of(several: bool, scales: bool, load: str) -> str:
    scaled = ["ldm r7!, {r4}", UPPER, "ldm r7!, {r0, r1}", NARROWED, "adds r6, r6, #1"]
    lines = [
        *prologue(several, load),
        "0:",
        f"ldr r1, [sp, #{STREAM}]",
        f"ldr r2, [sp, #{RESULT}]",
        f"str r2, [sp, #{Y}]",
        f"ldr r3, [sp, #{CHANNELS}]",
        "1:",
        f"str r3, [sp, #{LEFT}]",
        "ldm r1!, {r4-r7}",
        *(f"mov {total}, {low}" for total, low in zip(SUMS, ["r4", "r5", "r6", "r7"], strict=True)),
        f"ldr r0, [sp, #{X}]",
        f"ldr r2, [sp, #{DEPTH}]",
        *(f"adds {here}, {before}, r2" for before, here in zip(["r1", *WEIGHTS[:-1]], WEIGHTS, strict=True)),
        "rsbs r2, r2, #0",
        f"bx {ENTRY}",
        ".p2align 2",
        "2:",
        *products(load) * UNROLLED,
        "bne 2b",
        *(f"mov {low}, {total}" for total, low in zip(SUMS, ["r3", "r4", "r5", "r6"], strict=True)),
        f"add r0, sp, #{FOUND}",
        "stm r0!, {r3-r6}",
        # of the last group there may be fewer
        f"ldr r3, [sp, #{LEFT}]",
        f"subs r3, r3, #{LANES}",
        f"str r3, [sp, #{LEFT}]",
        "asrs r4, r3, #31",
        "ands r4, r4, r3",
        "lsls r4, r4, #2",
        "adds r0, r0, r4",
        "mov r8, r0",
        f"add r5, sp, #{FOUND}",
        f"ldr r6, [sp, #{Y}]",
        "3:",
        "ldm r5!, {r0}",
        *(scaled if scales else ["stm r6!, {r0}"]),
        "cmp r5, r8",
        "bne 3b",
        f"str r6, [sp, #{Y}]",
        "movs r1, r7",
        f"ldr r3, [sp, #{LEFT}]",
        "cmp r3, #0",
        "ble 5f",
        "b 1b",
        "5:",
        *([next_window(1 if scales else 4)] if several else []),
        f"add sp, #{FRAME}",
        RESTORED,
    ]
    return "\n".join(lines)


BY_CHANNEL = enter(routines(by_element=False), "armv6-m", GUARD, assembly_of)
