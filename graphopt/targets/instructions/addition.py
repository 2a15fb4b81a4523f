"""A routine that adds two rows of int8, each by a factor, and shifts the sums down to int8."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions import armv7m_products, dsp, mve
from graphopt.targets.instructions.base import Instruction, Span, instruction

NUMBERS = 4
"""Two factors, what is added to the sum, and by how much that is shifted down."""


def meant(a: Array, b: Array, numbers: Array) -> Array:
    first, second, offset, shift = map(int, numbers)
    acc = a.astype(np.int64) * first + b.astype(np.int64) * second + offset
    return np.asarray(np.clip(acc >> shift, -128, 127).astype(np.int8))


ADD_SCALED = instruction(
    Instruction(
        "add_scaled",
        None,
        {"a": "const int8*", "b": "const int8*", "y": "int8*", "numbers": "const int32*", "count": "int32"},
        "void",
        """\
    for (int32_t i = 0; i < count; ++i) {
        const int32_t sum = (a[i] * numbers[0] + b[i] * numbers[1] + numbers[2]) >> numbers[3];
        y[i] = (int8_t)(sum < -128 ? -128 : sum > 127 ? 127 : sum);
    }""",
        meant,
        comment="Adds elements by two factors and an offset, and shifts the sums down to 8 bits; y may be b.",
        spans={**dict.fromkeys("aby", Span("count")), "numbers": Span(f"{4 * NUMBERS}")},
    )
)


ELEMENT = """\
ldrsb r8, [r0], #1
ldrsb r9, [r1], #1
mla r8, r8, r4, r6
mla r8, r9, r5, r8
asr r8, r8, r7
ssat r8, #8, r8
strb r8, [r2], #1
"""

for _isa, _guard in (("armv7-m", armv7m_products.GUARD), ("dsp", dsp.GUARD)):
    ADD_SCALED.on(
        _isa,
        f"""\
push {{r4-r9, lr}}
ldm r3, {{r4-r7}}
ldr r3, [sp, #28]
subs r3, r3, #4
blt 2f
1:
{ELEMENT * 4}subs r3, r3, #4
bge 1b
2:
adds r3, r3, #4
beq 4f
3:
{ELEMENT}subs r3, r3, #1
bne 3b
4:
pop {{r4-r9, pc}}""",
        guard=_guard,
        naked=True,
    )

ADD_SCALED.on(
    "mve",
    f"""\
push {{r4-r7, lr}}
ldr lr, [sp, #20]
ldm r3, {{r4-r7}}
rsb r7, r7, #{mve.TOP}
wlstp.32 lr, lr, 2f
1:
vldrb.s32 q0, [r0], #4
vldrb.s32 q1, [r1], #4
vmul.i32 q0, q0, r4
vmla.s32 q0, q1, r5
vadd.i32 q0, q0, r6
vqshl.s32 q0, r7
vshr.s32 q0, q0, #{mve.TOP}
vstrb.32 q0, [r2], #4
letp lr, 1b
2:
pop {{r4-r7, pc}}""",
    guard=mve.GUARD,
    naked=True,
)
