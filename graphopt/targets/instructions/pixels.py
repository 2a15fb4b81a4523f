"""A routine that turns bytes into int8, or back, by flipping the highest bit of each, a word or a vector at a time."""

from __future__ import annotations

import numpy as np

from graphopt.targets.instructions import armv6m_products, dsp, mve
from graphopt.targets.instructions.armv7m_products import GUARD
from graphopt.targets.instructions.base import Instruction, Span, instruction

FLIP_SIGNS = instruction(
    Instruction(
        "flip_signs",
        None,
        {"target": "int8*", "source": "const uint8*", "count": "int32"},
        "void",
        """\
    for (int32_t i = 0; i < count; ++i) {
        target[i] = (int8_t)(source[i] - 128);
    }""",
        lambda source: (source ^ 0x80).view(np.int8),
        comment="Bytes less 128, which flips the highest bit of each. The target may begin at the source, or below it.",
        spans={"target": Span("count"), "source": Span("count")},
    )
)

FLIPPED_WORDS = "\n".join(
    [
        *(f"ldr r{r}, [r1], #4" for r in range(3, 7)),
        *(f"eor r{r}, r{r}, r12" for r in range(3, 7)),
        *(f"str r{r}, [r0], #4" for r in range(3, 7)),
    ]
)

for _isa, _guard in (("armv7-m", GUARD), ("dsp", dsp.GUARD)):
    FLIP_SIGNS.on(
        _isa,
        f"""\
push {{r4-r6, lr}}
mov r12, #0x80808080
subs r2, r2, #16
blt 2f
1:
{FLIPPED_WORDS}
subs r2, r2, #16
bge 1b
2:
adds r2, r2, #16
beq 4f
3:
ldrb r3, [r1], #1
eor r3, r3, #0x80
strb r3, [r0], #1
subs r2, r2, #1
bne 3b
4:
pop {{r4-r6, pc}}""",
        guard=_guard,
        naked=True,
    )

FLIP_SIGNS.on(
    "armv6-m",
    """\
.syntax unified
push {r4-r7, lr}
movs r3, #0x80
lsls r4, r3, #8
orrs r3, r4
lsls r4, r3, #16
orrs r3, r4
movs r4, r0
orrs r4, r1
lsls r4, r4, #30
bne 3f
subs r2, #16
blt 2f
1:
ldmia r1!, {r4-r7}
eors r4, r3
eors r5, r3
eors r6, r3
eors r7, r3
stmia r0!, {r4-r7}
subs r2, #16
bge 1b
2:
adds r2, #16
3:
cmp r2, #0
beq 5f
4:
ldrb r4, [r1]
eors r4, r3
strb r4, [r0]
adds r1, #1
adds r0, #1
subs r2, #1
bne 4b
5:
pop {r4-r7, pc}""",
    guard=armv6m_products.GUARD,
    naked=True,
)

FLIP_SIGNS.on(
    "mve",
    """\
push {r4, lr}
vmov.i8 q1, #0x80
wlstp.8 lr, r2, 2f
1:
vldrb.u8 q0, [r1], #16
veor q0, q0, q1
vstrb.8 q0, [r0], #16
letp lr, 1b
2:
pop {r4, pc}""",
    guard=mve.GUARD,
    naked=True,
)
