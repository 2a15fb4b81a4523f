"""A routine for Helium that adds two rows of int8, each by a factor, and scales the sums to int8."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.mve import GUARD, TOP, meant_scaled, twin_scaled

NUMBERS = 6
"""Two factors, what is added to the sum, and multiplier, addend and shift."""


def meant(a: Array, b: Array, numbers: Array) -> Array:
    first, second, offset, *scaling = map(int, numbers)
    acc = a.astype(np.int64) * first + b.astype(np.int64) * second + offset
    return meant_scaled(acc, *(np.array(n) for n in scaling))


ADD_SCALED = instruction(
    Instruction(
        "add_scaled",
        None,
        {"a": "const int8*", "b": "const int8*", "y": "int8*", "numbers": "const int32*", "count": "int32"},
        "void",
        "\n".join(
            [
                "    for (int32_t i = 0; i < count; ++i) {",
                "        const int32_t sum = a[i] * numbers[0] + b[i] * numbers[1] + numbers[2];",
                *(f"        {line}" for line in twin_scaled("sum", "numbers[3]", "numbers[4]", "numbers[5]")),
                "        y[i] = narrow;",
                "    }",
            ]
        ),
        meant,
        comment="Adds elements by two factors and an offset, and scales the sums to 8 bits; y may be b.",
        spans={**dict.fromkeys("aby", Span("count")), "numbers": Span(f"{4 * NUMBERS}")},
    )
)

ADD_SCALED.on(
    "mve",
    f"""\
push {{r4-r8, lr}}
ldr lr, [sp, #24]
ldrd r4, r5, [r3]
ldrd r6, r7, [r3, #8]
ldrd r8, r12, [r3, #16]
vdup.32 q2, r6
vdup.32 q3, r7
wlstp.32 lr, lr, 2f
1:
vldrb.s32 q0, [r0], #4
vldrb.s32 q1, [r1], #4
vmul.i32 q0, q0, r4
vmla.s32 q0, q1, r5
vadd.i32 q0, q0, q2
vmulh.s32 q0, q0, q3
vadd.i32 q0, q0, r8
vqshl.s32 q0, r12
vshr.s32 q0, q0, #{TOP}
vstrb.32 q0, [r2], #4
letp lr, 1b
2:
pop {{r4-r8, pc}}""",
    guard=GUARD,
    naked=True,
)
