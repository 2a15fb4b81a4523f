"""Sums of many products on ARMv7-M without a DSP extension: four channels of two windows at a time, or of one."""

from __future__ import annotations

from graphopt.targets.instructions.thumb_products import LANES, UNROLLED, enter, routines

GUARD = "defined(__thumb2__) && defined(__ARM_FEATURE_SAT) && !defined(__ARM_BIG_ENDIAN)"
SAVED = "push {r4-r11, lr}"
RESTORED = "pop {r4-r11, pc}"
SAVED_BYTES = 36

SUMS = [["r2", "r3", "r4", "r5"], ["r6", "r7", "r8", "r9"]]
"""Of each window; r1 points to the stream."""
ELEMENTS = [("r10", "r0"), ("r11", "lr")]
"""Of each window: an element, and the pointer to the next."""
WEIGHT = "r12"
NUMBERS = ("r10", "r11", "r12")
"""Multiplier, addend and shift of a channel."""
X, STEP, Y, LEFT, END, ENTRY, RESULT, STREAM, DEPTH, CHANNELS = 0, 4, 8, 16, 20, 24, 28, 32, 36, 40
"""Places on the stack: the window and the step to the next, the next result of each of two, the channels to do, the end
of the window, where its loop begins; the results of the window; and what stays."""
FRAME = 44
ARGUMENTS = SAVED_BYTES + FRAME
Y_STEP, PIXELS = ARGUMENTS, ARGUMENTS + 4


def products(pixels: int) -> list[str]:
    """Of one element of each window, four bytes each instruction."""
    lines = [f"ldrsb.w {element}, [{pointer}], #1" for element, pointer in ELEMENTS[:pixels]]
    for lane in range(LANES):
        lines += [f"ldrsb.w {WEIGHT}, [r1], #1"]
        lines += [
            f"mla {total[lane]}, {element}, {WEIGHT}, {total[lane]}"
            for total, (element, _) in zip(SUMS[:pixels], ELEMENTS, strict=False)
        ]
    return lines


def prologue(several: bool) -> list[str]:
    """Puts on the stack what stays there."""
    given = [f"ldrd r4, r5, [sp, #{ARGUMENTS + 8}]", f"strd r0, r3, [sp, #{X}]"]
    alone = ["mov r4, r3", f"ldr r5, [sp, #{ARGUMENTS}]", f"str r0, [sp, #{X}]"]
    return [
        SAVED,
        f"sub sp, sp, #{FRAME}",
        *(given if several else alone),
        f"strd r4, r5, [sp, #{DEPTH}]",
        f"strd r2, r1, [sp, #{RESULT}]",
        # the first turn does what the others leave of the depth
        "rsb r4, r4, #0",
        f"and r4, r4, #{UNROLLED - 1}",
        f"mov r5, #{4 * len(products(2 if several else 1))}",
        "adr r6, 2f",
        "mla r4, r4, r5, r6",
        "orr r4, r4, #1",
        f"str r4, [sp, #{ENTRY}]",
    ]


def first_group(several: bool, size: int) -> list[str]:
    """What begins with each pair of windows, or with the only one: results are y_step elements of ``size`` bytes apart."""
    second = [f"ldr r5, [sp, #{Y_STEP}]", f"add r6, r2, r5, lsl #{size.bit_length() - 1}"]
    return [
        f"ldrd r2, r1, [sp, #{RESULT}]",
        f"ldrd r4, r3, [sp, #{DEPTH}]",
        f"ldr r0, [sp, #{X}]",
        "add r0, r0, r4",
        *(second if several else []),
        f"strd r2, r6, [sp, #{Y}]" if several else f"str r2, [sp, #{Y}]",
        f"strd r3, r0, [sp, #{LEFT}]",
    ]


def next_windows(size: int) -> str:
    """Goes on to the next pair."""
    return f"""\
ldrd r2, r3, [sp, #{Y_STEP}]
subs r3, r3, #2
beq 6f
str r3, [sp, #{PIXELS}]
ldrd r0, r4, [sp, #{X}]
add r0, r0, r4, lsl #1
str r0, [sp, #{X}]
ldr r5, [sp, #{RESULT}]
add r5, r5, r2, lsl #{size.bit_length()}
str r5, [sp, #{RESULT}]
b 0b
6:"""


CONDITIONS = ["", "ge", "gt", "ge"]
"""When the last group has a channel: as the channels to do compare with 2, and from the fourth one on with 4."""


def stored(lane: int, results: list[tuple[str, str]], mnemonic: str, size: int) -> list[str]:
    """Stores the results of a channel, each to its pointer, where there is such a channel."""
    condition = CONDITIONS[lane]
    test = [f"it{'t' * (len(results) - 1)} {condition}"] if condition else []
    return [*test, *(f"{mnemonic}{condition} {value}, [{y}], #{size}" for value, y in results)]


def sums_stored(pixels: int) -> list[str]:
    """The sums of a group, as words."""
    pointers = ["r0", "lr"][:pixels]
    lines = [f"ldr {y}, [sp, #{Y + 4 * p}]" for p, y in enumerate(pointers)] + [
        f"ldr r12, [sp, #{LEFT}]",
        "cmp r12, #2",
    ]
    for lane in range(LANES):
        lines += ["cmp r12, #4"] if lane == LANES - 1 else []
        lines += stored(lane, [(total[lane], y) for total, y in zip(SUMS, pointers, strict=False)], "str", 4)
    return [*lines, *(f"str {y}, [sp, #{Y + 4 * p}]" for p, y in enumerate(pointers))]


def scaled(total: str, lower: str, result: str, numbers: tuple[str, str, str]) -> list[str]:
    """A sum by multiplier, addend and shift; ``lower`` is what the lower half of the product goes to."""
    multiplier, addend, shift = numbers
    return [
        f"smull {lower}, {result}, {total}, {multiplier}",
        f"add {result}, {result}, {addend}",
        f"asr {result}, {result}, {shift}",
        f"ssat {result}, #8, {result}",
    ]


def sums_scaled(pixels: int) -> list[str]:
    """The sums of a group, scaled to int8. The first two registers that get free are for what is on the stack."""
    pointers = ["r0", "r2"][:pixels]
    values = ["lr", "r10"][:pixels]
    left = "r6" if pixels == 2 else "r2"
    lines = [f"ldr r0, [sp, #{Y}]"]
    for lane in range(LANES):
        lines += ["ldm r1!, {r10-r12}"]
        if lane == 0:
            for p, (value, y) in enumerate(zip(values, pointers, strict=True)):
                lines += [f"ldr r2, [sp, #{Y + 4}]"] if p else []
                lines += [*scaled(SUMS[p][0], SUMS[p][0], value, NUMBERS), *stored(0, [(value, y)], "strb", 1)]
            lines += [f"ldr {left}, [sp, #{LEFT}]", f"cmp {left}, #2"]
            continue
        for p, value in enumerate(values):
            lines += scaled(SUMS[p][lane], SUMS[p][lane], value, NUMBERS)
        lines += [f"cmp {left}, #4"] if lane == LANES - 1 else []
        lines += stored(lane, list(zip(values, pointers, strict=True)), "strb", 1)
    return [*lines, *(f"str {y}, [sp, #{Y + 4 * p}]" for p, y in enumerate(pointers))]


def assembly_of(several: bool, scales: bool) -> str:
    pixels, size = (2 if several else 1), (1 if scales else 4)
    first, *second = SUMS[:pixels]
    lines = [
        *prologue(several),
        "0:",
        *first_group(several, size),
        "1:",
        f"ldrd r0, lr, [sp, #{X}]" if several else f"ldr r0, [sp, #{X}]",
        f"ldm r1!, {{{', '.join(first)}}}",
        *(f"mov {there}, {here}" for other in second for there, here in zip(other, first, strict=True)),
        *(["add lr, lr, r0"] if several else []),
        f"ldr pc, [sp, #{ENTRY}]",
        ".p2align 2",
        "2:",
        *products(pixels) * UNROLLED,
        f"ldr r10, [sp, #{END}]",
        "cmp r0, r10",
        "bne 2b",
        *(sums_scaled(pixels) if scales else sums_stored(pixels)),
        f"ldr r12, [sp, #{LEFT}]",
        f"subs r12, r12, #{LANES}",
        f"str r12, [sp, #{LEFT}]",
        "bgt 1b",
        *([next_windows(size)] if several else []),
        f"add sp, sp, #{FRAME}",
        RESTORED,
    ]
    return "\n".join(lines)


BY_ELEMENT = enter(routines(by_element=True), "armv7-m", GUARD, assembly_of)
