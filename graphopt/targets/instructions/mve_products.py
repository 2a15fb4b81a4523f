"""Routines for Helium that sum many products of int8 at once: for two pixels, or one, and four channels.

VMLADAVA adds the products of 16 elements and 16 weights to a register. A *block* is 16 elements in depth of one pixel,
or what is left of the depth; windows are read where they stand. The sums of four channels become the lanes of a vector,
which is scaled and stored at once.
"""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, instruction
from graphopt.targets.instructions.mve import (
    GUARD,
    LANES,
    RESTORED,
    SAVED,
    SAVED_BYTES,
    meant_scaled,
    packed_scaling,
    scaled,
    twin_scaled,
)

BLOCK = 16
WORD = 4
"""Weights of a channel are filled up to words, for what stands behind them."""


def stream(weight: Array, bias: Array, scaling: Array, side_by_side: int) -> Array:
    """All words that a routine reads, in order, of channels in groups of so many: biases, weights block by block, scaling.

    weight int8 [channels, depth], bias [channels], scaling [channels, n]: nothing for sums, or multiplier, addend and
    shift. Channels are filled up to groups with zeros.
    """
    more = -len(weight) % side_by_side
    rows = np.pad(weight, ((0, more), (0, -weight.shape[1] % WORD)))
    groups = len(rows) // side_by_side
    parts = [np.pad(bias, (0, more)).astype(np.int64).astype(np.int32).reshape(groups, -1).view(np.int8)]
    for start in range(0, rows.shape[1], BLOCK):
        parts.append(rows[:, start : start + BLOCK].reshape(groups, -1))
    if scaling.shape[1]:
        ups = np.pad(packed_scaling(scaling), ((0, more), (0, 0))).reshape(groups, side_by_side, -1)
        parts.append(np.ascontiguousarray(ups.transpose(0, 2, 1)).reshape(groups, -1).view(np.int8))
    return np.concatenate(parts, axis=1).view(np.int32).ravel()


def words_of(depth: int, scales: bool) -> int:
    """The words of a group of channels in a stream."""
    return LANES * (1 + -(-depth // WORD) + 3 * scales)


def twin(pixels: int, scales: bool) -> str:
    """The C of a routine."""
    lines = [
        f"    const int32_t deep = (depth + {WORD - 1}) / {WORD} * {WORD};",
        f"    for (int32_t c = 0; c < channels; ++c) {{",
        f"        const int32_t lane = c % {LANES};",
        f"        const int32_t *const group = w + c / {LANES} * (deep + {LANES * (4 if scales else 1)});",
        f"        const int32_t *const scaling = group + {LANES} + deep + lane;" * scales,
    ]
    for p in range(pixels):
        lines += [
            "        {",
            "            uint32_t sum = (uint32_t)group[lane];",
            "            for (int32_t k = 0; k < depth; ++k) {",
            f"                const int32_t block = k / {BLOCK} * {BLOCK};",
            f"                const int32_t size = deep - block < {BLOCK} ? deep - block : {BLOCK};",
            f"                const int8_t *const v = (const int8_t *)(group + {LANES}) + {LANES} * block + lane * size;",
            f"                sum += (uint32_t)(x{p}[k] * v[k - block]);",
            "            }",
        ]
        if scales:
            parts = [f"scaling[{LANES * i}]" for i in range(3)]
            lines += [f"            {line}" for line in twin_scaled("(int32_t)sum", *parts)]
        lines += [f"            y{p}[c] = {'narrow' if scales else '(int32_t)sum'};", "        }"]
    return "\n".join([*filter(None, lines), "    }"])


def sums(x: Array, w: Array, channels: int, scales: bool) -> Array:
    """What a routine gives, [pixels, channels], of elements [pixels, depth] and a ``stream``."""
    groups = np.ascontiguousarray(w).reshape(-1, words_of(x.shape[1], scales))
    deep = -(-x.shape[1] // WORD) * WORD
    stored = np.ascontiguousarray(groups[:, LANES : LANES + deep]).view(np.int8)
    blocks = [
        stored[:, LANES * start : LANES * min(start + BLOCK, deep)].reshape(len(groups) * LANES, -1)
        for start in range(0, deep, BLOCK)
    ]
    weight = np.concatenate(blocks, axis=1)[:, : x.shape[1]].astype(np.int64)
    acc = x.astype(np.int64) @ weight.T + groups[:, :LANES].ravel()
    if not scales:
        return np.asarray(acc[:, :channels].astype(np.int32))
    scaling = groups[:, LANES + deep :].reshape(len(groups), 3, LANES).transpose(1, 0, 2).reshape(3, -1)
    return meant_scaled(acc, *scaling.astype(np.int64))[:, :channels]


def routine(name: str, pixels: int, scales: bool, comment: str) -> Instruction:
    """A routine of so many pixels: windows, a stream, results, then the depth of windows and the channels."""
    kind, size = ("int8*", 1) if scales else ("int32*", 4)
    windows, results = ([f"{letter}{p}" for p in range(pixels)] for letter in "xy")
    operands = {**dict.fromkeys(windows, "const int8*"), "w": "const int32*", **dict.fromkeys(results, kind)}
    words = f"(channels + {LANES - 1}) / {LANES} * {LANES} * ((depth + {WORD - 1}) / {WORD} + {4 if scales else 1})"
    spans = {**dict.fromkeys(windows, "depth"), "w": f"4 * ({words})", **dict.fromkeys(results, f"{size} * channels")}
    return instruction(
        Instruction(
            name,
            None,
            {**operands, "depth": "int32", "channels": "int32"},
            "void",
            twin(pixels, scales),
            lambda x, w, channels: sums(x, w, channels, scales),
            comment=comment,
            depth=BLOCK,
            lanes=LANES,
            spans=spans,
        )
    )


SUMMED = "Sums of products of elements x and packed weights w, for all channels, four at a time"
MULTIPLY_WINDOWS = routine("multiply_windows", 2, True, f"{SUMMED},\n   of two windows; each is scaled to 8 bits.")
SUM_WINDOWS = routine("sum_windows", 2, False, f"{SUMMED},\n   of two windows.")
MULTIPLY_WINDOW = routine("multiply_window", 1, True, f"{SUMMED};\n   each is scaled to 8 bits.")
SUM_WINDOW = routine("sum_window", 1, False, f"{SUMMED}.")


SUMS = [["r0", "r2", "r4", "r6"], ["r8", "r10", "r12", "lr"]]
"""Of each pixel: VMLADAV takes even registers alone. The odd ones point: r1 to the stream."""
ELEMENTS = [("q0", "r9"), ("q1", "r11")]
RESULTS = ["r3", "r5"]
"""VSTRB takes low registers alone, where it narrows."""
FRAME = 28
"""Bytes on the stack: the windows, the blocks by two, that one more, the elements and the weights left, the channels."""
ENTRY = [
    f"""\
str r0, [sp]
mov r4, r3
mov r3, r2
ldr r6, [sp, #{SAVED_BYTES + FRAME}]""",
    f"""\
strd r0, r1, [sp]
mov r1, r2
ldrd r5, r4, [sp, #{SAVED_BYTES + FRAME}]
ldr r6, [sp, #{SAVED_BYTES + FRAME + 8}]""",
]
"""Of one pixel and of two: puts the windows on the stack, stream and results where they stay, depth in r4, channels in r6."""


def products(pixels: int, left: bool) -> list[str]:
    """A block of products, a whole one or what is ``left``: that many elements are loaded, and r7 is the step of weights.

    Loads and products take turns, for they overlap.
    """
    loads = [f"vldrb{'t' * left}.u8 {q}, [{pointer}]{'' if left else ', #16'}" for q, pointer in ELEMENTS[:pixels]]
    lines = [f"vps{'t' * pixels}", *loads] if left else loads[:1]
    waiting = [] if left else loads[1:]
    for c in range(LANES):
        weights = f"q{2 + c % 2}"
        lines += [f"vldrb.u8 {weights}, [r1]", "add r1, r1, r7"] if left else [f"vldrb.u8 {weights}, [r1], #16"]
        for (q, _), sums_of in zip(ELEMENTS[:pixels], SUMS, strict=False):
            lines += [f"vmladava.s8 {sums_of[c]}, {q}, {weights}", *waiting]
            waiting = []
    return lines


def assembly_of(pixels: int, scales: bool) -> str:
    first, *second = SUMS[:pixels]
    vectors = [q for q, _ in ELEMENTS[:pixels]]
    two = products(pixels, False) * 2
    starts = ["ldrd r9, r11, [sp]" if second else "ldr r9, [sp]", *(f"ldrd {a}, {b}, [r1], #8" for a, b in (first[:2], first[2:]))]
    starts += [f"mov {there}, {here}" for other in second for there, here in zip(other, first, strict=True)]
    # LE takes lr, which is a sum of the second pixel
    turns = ["cbz r7, 3f", "2:", *two, "subs r7, r7, #1", "bne 2b"] if second else ["wls lr, r7, 3f", "2:", *two, "le lr, 2b"]
    lanes = [f"vmov.32 {q}[{i}], {r}" for q, found in zip(vectors, SUMS, strict=False) for i, r in enumerate(found)]
    loads = [f"vldrw.u32 {q}, [r1], #16" for q in ("q2", "q3", "q2")]
    store = ("vstrbt.32", 4) if scales else ("vstrwt.32", 16)
    lines = [
        SAVED,
        f"sub sp, sp, #{FRAME}",
        ENTRY[pixels - 1],
        "str r6, [sp, #24]",
        "lsr r6, r4, #5",
        "ubfx r7, r4, #4, #1",
        "strd r6, r7, [sp, #8]",
        "and r6, r4, #15",
        "add r7, r6, #3",
        "bic r7, r7, #3",
        "strd r6, r7, [sp, #16]",
        "1:",
        *starts,
        "ldr r7, [sp, #8]",
        *turns,
        "3:",
        "ldr r7, [sp, #12]",
        "cbz r7, 4f",
        *products(pixels, False),
        "4:",
        "ldr r7, [sp, #16]",
        "cbz r7, 5f",
        "vctp.8 r7",
        "ldr r7, [sp, #20]",
        *products(pixels, True),
        "5:",
        *lanes,
        *(scaled(vectors, "q2", "q3", "q2", loads) if scales else []),
        "ldr r7, [sp, #24]",
        "vctp.32 r7",
        f"vps{'t' * pixels}",
        *(f"{store[0]} {q}, [{y}], #{store[1]}" for q, y in zip(vectors, RESULTS, strict=False)),
        "subs r7, r7, #4",
        "str r7, [sp, #24]",
        "bgt 1b",
        f"add sp, sp, #{FRAME}",
        RESTORED,
    ]
    return "\n".join(lines)


for _one, _pixels, _scales in (
    (MULTIPLY_WINDOWS, 2, True),
    (SUM_WINDOWS, 2, False),
    (MULTIPLY_WINDOW, 1, True),
    (SUM_WINDOW, 1, False),
):
    _one.on("mve", assembly_of(_pixels, _scales), guard=GUARD, naked=True)
