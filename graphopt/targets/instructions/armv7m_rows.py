"""Products of one row on ARMv7-M without a DSP extension: two of them in one multiplication of 32 bits.

Weights are stored as u = w + 128, four bytes in a word, of which one AND takes two, u0 + 2^16 u2 or u1 + 2^16 u3.
Elements are *crossed*: two of them are a = x2 + 2^16 x0, and beside each such word stands its complement. Modulo 2^32,

    a (u0 + 2^16 u2) + (2^15 - a (128 + 2^16 128)) = 2^16 (x0 w0 + x2 w2) + (x2 w0 + 2^15)

With weights of at least -127 the sum of the two products fits 16 bits, and what stands below it is neither negative nor
above 16 bits. So the upper half is that sum, and is added as it stands, shifted down. Weights stay in bytes, and a
*block* is four elements in depth: one word of weights, and four words of elements.
"""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.armv7m_products import GUARD, RESTORED, SAVED, SAVED_BYTES, scaled
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.products import BLOCK, LEAST_WEIGHT, Form, halves
from graphopt.targets.instructions.thumb_products import LANES

OFFSET = 128
WORDS = 4
"""Of elements in a block."""
TURN = 4
"""Blocks in a turn of the loop, which is entered so that the last turn is a whole one."""


def crossed(elements: Array) -> Array:
    """Elements [..., 4 * blocks] int8 as [..., blocks, 4] int32: x2 and x0, their complement, x3 and x1, theirs."""
    x0, x1, x2, x3 = np.moveaxis(elements.astype(np.int64).reshape(*elements.shape[:-1], -1, BLOCK), -1, 0)
    pairs = [x2 + (x0 << 16), x3 + (x1 << 16)]
    words = [word for one in pairs for word in (one, (1 << 15) - one * (OFFSET + (OFFSET << 16)))]
    return np.stack([(word & 0xFFFFFFFF).astype(np.uint32).view(np.int32) for word in words], axis=-1)


def stream(weight: Array, bias: Array, scaling: Array, side_by_side: int) -> Array:
    """All words that a routine reads: of four channels at a time biases, weights block by block, scaling.

    weight int8 [channels, depth] of at least -127, bias [channels], scaling int32 [channels, n]: nothing for sums, or
    multiplier, addend and shift. Depth is filled up to blocks with zeros, and so are channels to groups.
    """
    rows = np.pad(weight, ((0, -len(weight) % side_by_side), (0, -weight.shape[1] % BLOCK))).astype(np.int64) + OFFSET
    more = ((0, len(rows) - len(bias)), (0, 0))
    starts, numbers = (np.pad(data, more).astype(np.int32) for data in (bias[:, None], scaling))
    groups = len(rows) // side_by_side
    words = np.ascontiguousarray(rows.astype(np.uint8)).view(np.int32)
    blocks = words.reshape(groups, side_by_side, -1).transpose(0, 2, 1)
    return np.concatenate([data.reshape(groups, -1) for data in (starts, blocks, numbers)], axis=1).ravel()


def sums(x: Array, w: Array, scales: bool) -> Array:
    """What a routine gives, [1, channels], of crossed elements [blocks, 1, 4] and a ``stream``."""
    groups = w.reshape(-1, LANES * (len(x) + (4 if scales else 1)))
    stored = np.ascontiguousarray(groups[:, LANES : LANES * (len(x) + 1)]).view(np.uint8)
    weight = stored.reshape(len(groups), len(x), LANES, BLOCK).astype(np.int64) - OFFSET
    elements = halves(x[:, 0, ::2])  # of each block x2, x0 and x3, x1, which lends one to a negative x2 or x3
    below = elements[:, :, 0]
    above = elements[:, :, 1] + (below < 0)
    acc = groups[:, :LANES] + sum(
        np.einsum("b,gbc->gc", side[:, odd], weight[..., odd + start])
        for odd in (0, 1)
        for side, start in ((above, 0), (below, 2))
    )
    if scales:
        multiplier, addend, shift = np.moveaxis(groups[:, -3 * LANES :].astype(np.int64).reshape(-1, LANES, 3), 2, 0)
        acc = np.clip(((acc * multiplier >> 32) + addend) >> shift, -128, 127)
    return np.asarray(acc.reshape(1, -1).astype(np.int8 if scales else np.int32))


CROSS_WORDS = instruction(
    Instruction(
        "cross_words",
        None,
        {"target": "int32*", "source": "const int8*", "words": "int32"},
        "void",
        f"""\
    for (int32_t i = 0; i < words; ++i) {{
        for (int32_t odd = 0; odd < 2; ++odd) {{
            const uint32_t a = (uint32_t)source[4 * i + odd + 2] + ((uint32_t)source[4 * i + odd] << 16);
            target[4 * i + 2 * odd] = (int32_t)a;
            target[4 * i + 2 * odd + 1] = (int32_t)((1u << 15) - a * {OFFSET + (OFFSET << 16)}u);
        }}
    }}""",
        lambda source: crossed(source),
        comment="Crosses words of four elements each: x2 + 2^16 x0 and its complement, x3 + 2^16 x1 and its own.",
        depth=BLOCK,
        spans={"target": Span("16 * words"), "source": Span("4 * words")},
    )
)
CROSS_WORDS.on(
    "armv7-m",
    f"""\
push {{r4-r8, lr}}
mov r8, #{OFFSET + (OFFSET << 16):#x}
mov lr, #{1 << 15}
1:
ldrsb r3, [r1], #1
ldrsb r5, [r1], #1
ldrsb r4, [r1], #1
ldrsb r6, [r1], #1
add r3, r4, r3, lsl #16
add r5, r6, r5, lsl #16
mls r4, r3, r8, lr
mls r6, r5, r8, lr
stm r0!, {{r3-r6}}
subs r2, r2, #1
bne 1b
pop {{r4-r8, pc}}""",
    guard=GUARD,
    naked=True,
)


def twin(scales: bool) -> str:
    lines = [
        "    for (int32_t group = 0; group < groups; ++group) {",
        f"        for (int32_t c = 0; c < {LANES}; ++c) {{",
        "            uint32_t sum = (uint32_t)w[c];",
        "            for (int32_t i = 0; i < blocks; ++i) {",
        f"                const uint32_t v = (uint32_t)w[{LANES} * (i + 1) + c];",
        "                const uint32_t even = (uint32_t)x[4 * i] * (v & 0xff00ffu) + (uint32_t)x[4 * i + 1];",
        "                const uint32_t odd = (uint32_t)x[4 * i + 2] * (v >> 8 & 0xff00ffu) + (uint32_t)x[4 * i + 3];",
        "                sum += (uint32_t)(((int32_t)even >> 16) + ((int32_t)odd >> 16));",
        "            }",
    ]
    if scales:
        lines += [
            f"            const int32_t *const s = w + {LANES} * (blocks + 1) + 3 * c;",
            "            const int32_t upper = (int32_t)((int64_t)(int32_t)sum * s[0] >> 32);",
            "            const int32_t scaled = (upper + s[1]) >> s[2];",
            f"            y[{LANES} * group + c] = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);",
        ]
    else:
        lines += [f"            y[{LANES} * group + c] = (int32_t)sum;"]
    return "\n".join([*lines, "        }", f"        w += {LANES} * (blocks + {4 if scales else 1});", "    }"])


SUMS = ["r2", "r3", "r4", "r5"]
ELEMENTS = [("r6", "r7"), ("r8", "r9")]
"""Crossed, and their complements."""
PRODUCT, MASK = "r12", "lr"
X, X_END, Y, Y_END, ENTRY, FRAME = 0, 4, 8, 12, 16, 20
"""Places on the stack: the elements and their end, the results and theirs, where the loop begins."""


def block() -> list[str]:
    """The products of a block with four channels, four bytes each instruction; r0 has elements, r1 weights."""
    lines = ["ldm r0!, {r6-r9}"]
    for first in range(0, LANES, 2):
        lines += ["ldm r1!, {r10, r11}"]
        for total, weights in zip(SUMS[first : first + 2], ("r10", "r11"), strict=True):
            for taken, shift, (element, complement) in zip((PRODUCT, weights), ("", ", lsr #8"), ELEMENTS, strict=True):
                lines += [
                    f"and {taken}, {MASK}, {weights}{shift}",
                    f"mla {taken}, {element}, {taken}, {complement}",
                    f"add {total}, {total}, {taken}, asr #16",
                ]
    return lines


def assembly_of(scales: bool) -> str:
    if scales:
        numbers = ("r6", "r7", "r8")
        each = (["ldm r1!, {r6-r8}", *scaled(one, "r9", one, numbers), f"strb {one}, [r0], #1"] for one in SUMS)
        stored = [line for lines in each for line in lines]
    else:
        stored = [f"stm r0!, {{{SUMS[0]}-{SUMS[-1]}}}"]
    return "\n".join(
        [
            SAVED,
            f"sub sp, sp, #{FRAME}",
            f"ldr r4, [sp, #{SAVED_BYTES + FRAME}]",
            f"add r4, r2, r4, lsl #{2 if scales else 4}",
            f"strd r2, r4, [sp, #{Y}]",
            "add r5, r0, r3, lsl #4",
            f"strd r0, r5, [sp, #{X}]",
            "rsb r3, r3, #0",
            f"and r3, r3, #{TURN - 1}",
            f"mov r5, #{4 * len(block())}",
            "adr r6, 2f",
            "mla r3, r3, r5, r6",
            "orr r3, r3, #1",
            f"str r3, [sp, #{ENTRY}]",
            f"mov {MASK}, #0x00ff00ff",
            "1:",
            f"ldr r0, [sp, #{X}]",
            "ldm r1!, {r2-r5}",
            f"ldr pc, [sp, #{ENTRY}]",
            ".p2align 2",
            "2:",
            *block() * TURN,
            f"ldr r12, [sp, #{X_END}]",
            "cmp r0, r12",
            "bne 2b",
            f"ldr r0, [sp, #{Y}]",
            *stored,
            f"ldr r6, [sp, #{Y_END}]",
            f"str r0, [sp, #{Y}]",
            "cmp r0, r6",
            "bne 1b",
            f"add sp, sp, #{FRAME}",
            RESTORED,
        ]
    )


def routine(scales: bool) -> Instruction:
    kind, size = ("int8", 1) if scales else ("int32", 4)
    portable = instruction(
        Instruction(
            f"{'multiply' if scales else 'sum'}_crossed_row",
            None,
            {"x": "const int32*", "w": "const int32*", "y": f"{kind}*", "blocks": "int32", "groups": "int32"},
            "void",
            twin(scales),
            lambda x, w: sums(x, w, scales),
            comment="""\
Sums of products of crossed elements x and weights w, which are 128 more, block by block, for groups of four channels"""
            + ("; each is\n   scaled to 8 bits." if scales else "."),
            depth=BLOCK,
            lanes=LANES,
            spans={
                "x": Span("16 * blocks"),
                "w": Span(f"{4 * LANES} * groups * (blocks + {4 if scales else 1})"),
                "y": Span(f"{size * LANES} * groups"),
            },
        )
    )
    portable.on("armv7-m", assembly_of(scales), guard=GUARD, naked=True)
    return portable


CROSSED = Form(
    crossed,
    {1: CROSS_WORDS},
    {(True, scales): routine(scales) for scales in (True, False)},
    stream,
    bits=0,
    least_weight=LEAST_WEIGHT,
    words=WORDS,
)
