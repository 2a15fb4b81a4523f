"""Routines for Helium that sum many products of int8 at once: of two pixels, or one, and four channels.

VMLADAVA adds the products of 16 elements and 16 weights to a register. A *block* is 16 elements in depth of one pixel,
or what is left of the depth; windows are read where they stand, pair after pair of them. The sums of four channels
become the lanes of a vector, which is scaled and stored at once.
"""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
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
UNROLLED = 4
"""Blocks in a turn of the loop over them; the first turn begins within where there are not so many."""
WORD = 4
"""Weights of a channel are filled up to words, for what stands behind them."""


def stream(weight: Array, bias: Array, scaling: Array, side_by_side: int) -> Array:
    """All words that a routine reads, in order, of channels in groups of so many: biases, weights by blocks, scaling.

    weight int8 [channels, depth], bias [channels], scaling [channels, n]: nothing for sums, or multiplier, addend and
    shift. Channels are filled up to groups with zeros.
    """
    more = -len(weight) % side_by_side
    rows = np.pad(weight, ((0, more), (0, -weight.shape[1] % WORD)))
    groups = len(rows) // side_by_side
    parts = [np.pad(bias, (0, more)).astype(np.int64).astype(np.int32).reshape(groups, -1).view(np.int8)]
    parts += [rows[:, start : start + BLOCK].reshape(groups, -1) for start in range(0, rows.shape[1], BLOCK)]
    if scaling.shape[1]:
        ups = np.pad(packed_scaling(scaling), ((0, more), (0, 0))).reshape(groups, side_by_side, -1)
        parts.append(np.ascontiguousarray(ups.transpose(0, 2, 1)).reshape(groups, -1).view(np.int8))
    return np.concatenate(parts, axis=1).view(np.int32).ravel()


def words_of(depth: int, scales: bool) -> int:
    """The words of a group of channels in a stream."""
    return LANES * (1 + -(-depth // WORD) + 3 * scales)


def twin(several: bool, scales: bool) -> str:
    """The C of a routine."""
    x, y = ("x[p * step + k]", "y[p * y_step + c]") if several else ("x[k]", "y[c]")
    lines = [
        f"    const int32_t deep = (depth + {WORD - 1}) / {WORD} * {WORD};",
        "    for (int32_t p = 0; p < pixels; ++p) {" * several,
        "    for (int32_t c = 0; c < channels; ++c) {",
        f"        const int32_t lane = c % {LANES};",
        f"        const int32_t *const group = w + c / {LANES} * (deep + {LANES * (4 if scales else 1)});",
        "        uint32_t sum = (uint32_t)group[lane];",
        "        for (int32_t k = 0; k < depth; ++k) {",
        f"            const int32_t block = k / {BLOCK} * {BLOCK};",
        f"            const int32_t size = deep - block < {BLOCK} ? deep - block : {BLOCK};",
        f"            const int8_t *const v = (const int8_t *)(group + {LANES}) + {LANES} * block + lane * size;",
        f"            sum += (uint32_t)({x} * v[k - block]);",
        "        }",
    ]
    if scales:
        lines += [f"        const int32_t *const scaling = group + {LANES} + deep + lane;"]
        lines += [
            f"        {line}" for line in twin_scaled("(int32_t)sum", *(f"scaling[{LANES * i}]" for i in range(3)))
        ]
    lines += [f"        {y} = {'narrow' if scales else '(int32_t)sum'};", "    }", "    }" * several]
    return "\n".join(filter(None, lines))


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


def routine(name: str, several: bool, scales: bool, comment: str) -> Instruction:
    """A routine of ``several`` windows, an even number, or of one."""
    kind, size = ("int8*", 1) if scales else ("int32*", 4)
    words = f"(channels + {LANES - 1}) / {LANES} * {LANES} * ((depth + {WORD - 1}) / {WORD} + {4 if scales else 1})"
    pixels = ("step", "y_step", "pixels") if several else ()
    return instruction(
        Instruction(
            name,
            None,
            {
                "x": "const int8*",
                "w": "const int32*",
                "y": kind,
                **dict.fromkeys((*pixels, "depth", "channels"), "int32"),
            },
            "void",
            twin(several, scales),
            lambda x, w, channels: sums(x, w, channels, scales),
            comment=comment,
            depth=BLOCK,
            lanes=LANES,
            spans={
                "x": Span("depth", (("pixels", "step"),) * several),
                "w": Span(f"4 * ({words})"),
                "y": Span(f"{size} * channels", (("pixels", f"{size} * y_step"),) * several),
            },
            counts=counts(several),
        )
    )


def counts(several: bool) -> dict[str, str]:
    """What costs are linear in: a turn is of four channels, and has whole blocks, and what is left of the depth."""
    windows = "pixels / 2 * " if several else ""
    turns = f"{windows}((channels + {LANES - 1}) / {LANES})"
    found = {"turns": turns, "blocks": f"{turns} * (depth / {BLOCK})"}
    found["left"] = f"{turns} * ((depth % {BLOCK} + {BLOCK - 1}) / {BLOCK})"
    found["unrolled"] = f"{turns} * ((depth / {BLOCK} + {UNROLLED - 1}) / {UNROLLED})"
    return found | ({"windows": "pixels / 2"} if several else {})


SUMMED = "Sums of products of elements x and packed weights w, for all channels, four at a time"
WINDOWS = "of windows that\n   are step apart, to results y_step apart; pixels is even"
MULTIPLY_WINDOWS = routine("multiply_windows", True, True, f"{SUMMED}, {WINDOWS}. Each is scaled to 8 bits.")
SUM_WINDOWS = routine("sum_windows", True, False, f"{SUMMED}, {WINDOWS}.")
MULTIPLY_WINDOW = routine("multiply_window", False, True, f"{SUMMED};\n   each is scaled to 8 bits.")
SUM_WINDOW = routine("sum_window", False, False, f"{SUMMED}.")


SUMS = [["r0", "r2", "r4", "r6"], ["r8", "r10", "r12", "lr"]]
"""Of each pixel: VMLADAV takes even registers alone. The odd ones point: r1 to the stream."""
ELEMENTS = [("q0", "r9"), ("q1", "r11")]
RESULTS = ["r3", "r5"]
"""VSTRB takes low registers alone, where it narrows."""

X, BLOCKS, ENTRY, LEFT, STEP_LEFT, TO_DO = 0, 8, 12, 16, 20, 24
CHANNELS, STREAM, PAIRS, STEP, Y, Y_STEP = 28, 32, 36, 40, 44, 48
"""Places on the stack: the windows (two words); how many turns of blocks and where the first one begins, how many
elements are left and the step of their weights; the channels to do; and what stays: channels, stream, how many pairs of
windows with their step, results with theirs."""
FRAME = 52
ARGUMENTS = SAVED_BYTES + FRAME


def entry(several: bool, scales: bool) -> list[str]:
    """Puts on the stack what stays there, but for blocks and what is left: of the depth, which is then in r4."""
    if not several:
        return ["str r0, [sp]", "mov r4, r3", "mov r3, r2", f"ldr r6, [sp, #{ARGUMENTS}]", f"str r6, [sp, #{TO_DO}]"]
    return [
        "add r4, r0, r3",
        "strd r0, r4, [sp]",
        f"ldrd r5, r6, [sp, #{ARGUMENTS}]",
        "lsl r3, r3, #1",
        "lsr r6, r6, #1",
        *([] if scales else ["lsl r5, r5, #2"]),
        f"strd r6, r3, [sp, #{PAIRS}]",
        f"strd r2, r5, [sp, #{Y}]",
        f"ldrd r4, r6, [sp, #{ARGUMENTS + 8}]",
        f"strd r6, r1, [sp, #{CHANNELS}]",
    ]


BEGIN = f"""\
0:
ldrd r6, r1, [sp, #{CHANNELS}]
str r6, [sp, #{TO_DO}]
ldrd r3, r5, [sp, #{Y}]
add r5, r3, r5"""
"""A pair of windows."""
NEXT = f"""\
ldrd r6, r7, [sp, #{PAIRS}]
subs r6, r6, #1
beq 6f
str r6, [sp, #{PAIRS}]
ldrd r0, r2, [sp]
add r0, r0, r7
add r2, r2, r7
strd r0, r2, [sp]
ldrd r3, r5, [sp, #{Y}]
add r3, r3, r5, lsl #1
str r3, [sp, #{Y}]
b 0b
6:"""


def products(pixels: int, left: bool) -> list[str]:
    """A block of products, a whole one or what is ``left``: so many elements are loaded, and r7 is the step of weights.

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


def depth_entry(pixels: int) -> list[str]:
    """Puts on the stack what follows from the depth, r4; all instructions of a block have four bytes."""
    return [
        "lsr r6, r4, #4",
        f"add r7, r6, #{UNROLLED - 1}",
        f"lsr r7, r7, #{UNROLLED.bit_length() - 1}",
        "rsb r8, r6, #0",
        f"and r8, r8, #{UNROLLED - 1}",
        f"mov r10, #{4 * len(products(pixels, False))}",
        "adr r12, 2f",
        "mla r8, r8, r10, r12",
        "adr r12, 3f",
        "cmp r6, #0",
        "it eq",
        "moveq r8, r12",
        "orr r8, r8, #1",
        f"strd r7, r8, [sp, #{BLOCKS}]",
        f"and r6, r4, #{BLOCK - 1}",
        f"add r7, r6, #{WORD - 1}",
        f"bic r7, r7, #{WORD - 1}",
        f"strd r6, r7, [sp, #{LEFT}]",
    ]


def all_products(pixels: int) -> list[str]:
    """The sums of four channels, of all of the depth."""
    first, *second = SUMS[:pixels]
    # LE takes lr, which is a sum of the second pixel
    turns, end = ("r7", ["subs r7, r7, #1", "bne 2b"]) if second else ("lr", ["le lr, 2b"])
    return [
        "ldrd r9, r11, [sp]" if second else "ldr r9, [sp]",
        *(f"ldrd {a}, {b}, [r1], #8" for a, b in (first[:2], first[2:])),
        *(f"mov {there}, {here}" for other in second for there, here in zip(other, first, strict=True)),
        f"ldr {turns}, [sp, #{BLOCKS}]",
        f"ldr pc, [sp, #{ENTRY}]",
        "2:",
        *products(pixels, False) * UNROLLED,
        *end,
        "3:",
        f"ldr r7, [sp, #{LEFT}]",
        "cbz r7, 4f",
        "vctp.8 r7",
        f"ldr r7, [sp, #{STEP_LEFT}]",
        *products(pixels, True),
        "4:",
    ]


def assembly_of(several: bool, scales: bool) -> str:
    pixels = 2 if several else 1
    vectors = [q for q, _ in ELEMENTS[:pixels]]
    store = ("vstrbt.32", 4) if scales else ("vstrwt.32", 16)
    loads = [f"vldrw.u32 {q}, [r1], #16" for q in ("q2", "q3", "q2")]
    lines = [
        SAVED,
        f"sub sp, sp, #{FRAME}",
        *entry(several, scales),
        *depth_entry(pixels),
        *([BEGIN] if several else []),
        "1:",
        *all_products(pixels),
        *(f"vmov.32 {q}[{i}], {r}" for q, found in zip(vectors, SUMS, strict=False) for i, r in enumerate(found)),
        *(scaled(vectors, "q2", "q3", "q2", loads) if scales else []),
        f"ldr r7, [sp, #{TO_DO}]",
        "vctp.32 r7",
        f"vps{'t' * pixels}",
        *(f"{store[0]} {q}, [{y}], #{store[1]}" for q, y in zip(vectors, RESULTS, strict=False)),
        f"subs r7, r7, #{LANES}",
        f"str r7, [sp, #{TO_DO}]",
        "bgt 1b",
        *([NEXT] if several else []),
        f"add sp, sp, #{FRAME}",
        RESTORED,
    ]
    return "\n".join(lines)


for _one, _several, _scales in (
    (MULTIPLY_WINDOWS, True, True),
    (SUM_WINDOWS, True, False),
    (MULTIPLY_WINDOW, False, True),
    (SUM_WINDOW, False, False),
):
    _one.on("mve", assembly_of(_several, _scales), guard=GUARD, naked=True)
