"""Sums of many products on ARMv7-M without a DSP extension: four channels of two windows at a time, or eight of one."""

from __future__ import annotations

from graphopt.targets.instructions.thumb_products import LANES, UNROLLED, enter, routines

GUARD = "defined(__thumb2__) && defined(__ARM_FEATURE_SAT) && !defined(__ARM_BIG_ENDIAN)"
SAVED = "push {r4-r11, lr}"
RESTORED = "pop {r4-r11, pc}"
SAVED_BYTES = 36

SUMS = [["r2", "r3", "r4", "r5"], ["r6", "r7", "r8", "r9"]]
"""Of two windows, or of two groups of channels."""
ELEMENTS = ["r10", "r11"]
WEIGHT = "r12"
NUMBERS = ("r10", "r11", "r12")
"""Multiplier, addend and shift of a channel."""
X, STEP, Y, LEFT, END, ENTRY, RESULT, STREAM, DEPTH, CHANNELS = 0, 4, 8, 16, 20, 24, 28, 32, 36, 40
"""Places on the stack: the window and the step to the next, the next result of each of two, the channels to do, the end
of the window, where its loop begins; the results of the window; and what stays."""
GROUP, SECOND = STEP, Y + 4
"""Where there is one window: the bytes of a group of channels, and where the second one is."""
FRAME = 44
ARGUMENTS = SAVED_BYTES + FRAME
Y_STEP, PIXELS = ARGUMENTS, ARGUMENTS + 4


def products(several: bool, load: str) -> list[str]:
    """Of one element of each window, four bytes each instruction.

    r0 and lr point to two windows and r1 to the weights; or r0 to the only one, r1 and lr to the weights of two groups.
    """
    first, second = ELEMENTS if several else ELEMENTS[:1] * 2
    lines = [f"{load} {first}, [r0], #1", *([f"{load} {second}, [lr], #1"] if several else [])]
    for one, other in zip(*SUMS, strict=True):
        lines += [f"ldrsb {WEIGHT}, [r1], #1", f"mla {one}, {first}, {WEIGHT}, {one}"]
        lines += [] if several else [f"ldrsb {WEIGHT}, [lr], #1"]
        lines += [f"mla {other}, {second}, {WEIGHT}, {other}"]
    return lines


def all_products(several: bool, load: str) -> list[str]:
    """The sums over a window; its loop is entered so that the last turn is a whole one."""
    return [
        f"ldr pc, [sp, #{ENTRY}]",
        ".p2align 2",
        "2:",
        *products(several, load) * UNROLLED,
        f"ldr r10, [sp, #{END}]",
        "cmp r0, r10",
        "bne 2b",
    ]


def prologue(several: bool, load: str) -> list[str]:
    """Puts on the stack what stays there."""
    given = [f"ldrd r4, r5, [sp, #{ARGUMENTS + 8}]", f"strd r0, r3, [sp, #{X}]"]
    alone = ["mov r4, r3", f"ldr r5, [sp, #{ARGUMENTS}]", f"str r0, [sp, #{X}]"]
    return [
        SAVED,
        f"sub sp, sp, #{FRAME}",
        *(given if several else alone),
        f"strd r4, r5, [sp, #{DEPTH}]",
        f"strd r2, r1, [sp, #{RESULT}]",
        "rsb r4, r4, #0",
        f"and r4, r4, #{UNROLLED - 1}",
        f"mov r5, #{4 * len(products(several, load))}",
        "adr r6, 2f",
        "mla r4, r4, r5, r6",
        "orr r4, r4, #1",
        f"str r4, [sp, #{ENTRY}]",
    ]


CONDITIONS = ["", "ge", "gt", "ge"]
"""When the last group has a channel: as the channels to do compare with 2, and from the fourth one on with 4."""


def stored(lane: int, results: list[tuple[str, str]], scales: bool) -> list[str]:
    """Stores the results of a channel, each to its pointer, where there is such a channel."""
    condition, (mnemonic, size) = CONDITIONS[lane], (("strb", 1) if scales else ("str", 4))
    test = [f"it{'t' * (len(results) - 1)} {condition}"] if condition else []
    return [*test, *(f"{mnemonic}{condition} {value}, [{y}], #{size}" for value, y in results)]


def scaled(total: str, lower: str, result: str, numbers: tuple[str, str, str]) -> list[str]:
    """A sum by multiplier, addend and shift; ``lower`` is what the lower half of the product goes to."""
    multiplier, addend, shift = numbers
    return [
        f"smull {lower}, {result}, {total}, {multiplier}",
        f"add {result}, {result}, {addend}",
        f"asr {result}, {result}, {shift}",
        f"ssat {result}, #8, {result}",
    ]


LOAD_NUMBERS = f"ldm r1!, {{{', '.join(NUMBERS)}}}"


def pair_of_sums(lane: int, scales: bool) -> list[str]:
    """The results of a channel, of two windows. The first sums that are stored make room for what is on the stack."""
    one, other = (total[lane] for total in SUMS)
    lines = [LOAD_NUMBERS, *scaled(one, one, "lr", NUMBERS)] if scales else []
    first, second = ("lr", "r10") if scales else (one, other)
    of_second = scaled(other, other, second, NUMBERS) if scales else []
    if lane:
        test = ["cmp r6, #4"] if lane == LANES - 1 else []
        return [*lines, *of_second, *test, *stored(lane, [(first, "r0"), (second, "r2")], scales)]
    lines += [*stored(0, [(first, "r0")], scales), f"ldr r2, [sp, #{Y + 4}]"]
    return [*lines, *of_second, *stored(0, [(second, "r2")], scales), f"ldr r6, [sp, #{LEFT}]", "cmp r6, #2"]


def of_windows(scales: bool, load: str) -> list[str]:
    """Two windows after the other, and in each the groups of channels."""
    size = 0 if scales else 2
    return [
        "0:",
        f"ldrd r2, r1, [sp, #{RESULT}]",
        f"ldrd r4, r3, [sp, #{DEPTH}]",
        f"ldr r0, [sp, #{X}]",
        "add r0, r0, r4",
        f"ldr r5, [sp, #{Y_STEP}]",
        f"add r6, r2, r5, lsl #{size}",
        f"strd r2, r6, [sp, #{Y}]",
        f"strd r3, r0, [sp, #{LEFT}]",
        "1:",
        f"ldrd r0, lr, [sp, #{X}]",
        f"ldm r1!, {{{', '.join(SUMS[0])}}}",
        *(f"mov {there}, {here}" for here, there in zip(*SUMS, strict=True)),
        "add lr, lr, r0",
        *all_products(True, load),
        f"ldr r0, [sp, #{Y}]",
        *(line for lane in range(LANES) for line in pair_of_sums(lane, scales)),
        f"strd r0, r2, [sp, #{Y}]",
        f"subs r6, r6, #{LANES}",
        f"str r6, [sp, #{LEFT}]",
        "bgt 1b",
        f"ldrd r2, r3, [sp, #{Y_STEP}]",
        "subs r3, r3, #2",
        "beq 6f",
        f"str r3, [sp, #{PIXELS}]",
        f"ldrd r0, r4, [sp, #{X}]",
        "add r0, r0, r4, lsl #1",
        f"str r0, [sp, #{X}]",
        f"ldr r5, [sp, #{RESULT}]",
        f"add r5, r5, r2, lsl #{size + 1}",
        f"str r5, [sp, #{RESULT}]",
        "b 0b",
        "6:",
    ]


def group_of_sums(group: int, scales: bool) -> list[str]:
    """The results of a group of channels; the first sum that is stored makes room for the channels to do."""
    lines = []
    for lane, total in enumerate(SUMS[group]):
        lines += [LOAD_NUMBERS, *scaled(total, "lr", total, NUMBERS)] if scales else []
        lines += ["cmp r2, #4"] if lane == LANES - 1 else []
        lines += stored(lane, [(total, "r0")], scales)
        lines += [f"ldr r2, [sp, #{LEFT}]", "cmp r2, #2"] if group == lane == 0 else []
    return lines


def of_window(scales: bool, load: str) -> list[str]:
    """Two groups of channels after the other; where one is left, it is summed twice."""
    return [
        f"ldrd r4, r3, [sp, #{DEPTH}]",
        f"mov r5, #{4 * LANES * (4 if scales else 1)}",
        "add r5, r5, r4, lsl #2",
        f"ldr r0, [sp, #{X}]",
        "add r0, r0, r4",
        f"str r5, [sp, #{GROUP}]",
        f"str r2, [sp, #{Y}]",
        f"strd r3, r0, [sp, #{LEFT}]",
        "1:",
        f"ldrd r0, r11, [sp, #{X}]",
        "mov lr, r1",
        f"cmp r3, #{LANES}",
        "it gt",
        "addgt lr, r1, r11",
        f"ldm r1!, {{{', '.join(SUMS[0])}}}",
        f"ldm lr!, {{{', '.join(SUMS[1])}}}",
        *all_products(False, load),
        f"str lr, [sp, #{SECOND}]",
        f"ldr r0, [sp, #{Y}]",
        *group_of_sums(0, scales),
        f"subs r2, r2, #{LANES}",
        "ble 6f",
        f"ldr r1, [sp, #{SECOND}]",
        "cmp r2, #2",
        *group_of_sums(1, scales),
        f"str r0, [sp, #{Y}]",
        f"subs r3, r2, #{LANES}",
        f"str r3, [sp, #{LEFT}]",
        "bgt 1b",
        "6:",
    ]


def assembly_of(several: bool, scales: bool, load: str) -> str:
    loops = of_windows(scales, load) if several else of_window(scales, load)
    return "\n".join([*prologue(several, load), *loops, f"add sp, sp, #{FRAME}", RESTORED])


BY_ELEMENT = enter(routines(by_element=True), "armv7-m", GUARD, assembly_of)
