"""Routines of bytes, as cameras give them: flipping their highest bits makes int8 of them; and tables of bytes."""

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

FLIPPED_BY = -128
"""What flipping adds to bytes."""

FLIP_RUNS = instruction(
    Instruction(
        "flip_runs",
        None,
        {"target": "int8*", "source": "const uint8*", "length": "int32", "count": "int32", "step": "int32"},
        "void",
        """\
    for (int32_t run = 0; run < count; ++run) {
        for (int32_t i = 0; i < length; ++i) {
            *target++ = (int8_t)(source[i] - 128);
        }
        source += step;
    }""",
        lambda source: (source ^ 0x80).view(np.int8),
        comment="Copies runs that begin a step apart to one line, all bytes less 128.",
        spans={"target": Span("length * count"), "source": Span("length", (("count", "step"),))},
        counts={"1": "count", "2": "count * (length / 4)"},
    )
)

MOST_TABLES = 4
"""Whose places are in registers."""
UNROLLED = 4
"""Bytes in a turn, where all have one table."""


def look_up(tables: int) -> Instruction:
    """The routine of pixels of so many channels, each with a table of its own."""
    portable = instruction(
        Instruction(
            f"look_up_{tables}",
            None,
            {"target": "int8*", "source": "const uint8*", "table": "const int8*", "pixels": "int32"},
            "void",
            f"""\
    for (int32_t i = 0; i < pixels; ++i) {{
        for (int32_t c = 0; c < {tables}; ++c) {{
            target[{tables} * i + c] = table[256 * c + source[{tables} * i + c]];
        }}
    }}""",
            lambda source, table: table.reshape(tables, 256)[np.arange(tables), source.reshape(-1, tables)],
            comment=f"""\
The elements of tables by bytes, {tables} in turn. The target may begin at the source, or below it.""",
            spans={
                "target": Span(f"{tables} * pixels"),
                "source": Span(f"{tables} * pixels"),
                "table": Span(str(256 * tables)),
            },
        )
    )
    for isa, guard in (("armv7-m", GUARD), ("dsp", dsp.GUARD)):
        portable.on(isa, looking_up(tables), guard=guard, naked=True)
    return portable


def looking_up(tables: int) -> str:
    places = ["r2", "r4", "r5", "r6"][:tables]

    def byte(place: str) -> list[str]:
        return ["ldrb r12, [r1], #1", f"ldrb r12, [{place}, r12]", "strb r12, [r0], #1"]

    pixel = [line for place in places for line in byte(place)]
    turn = ["subs r3, r3, #1", "bne 3b"]
    if tables == 1:
        whole = [f"subs r3, r3, #{UNROLLED}", "blt 2f", "1:", *pixel * UNROLLED, f"subs r3, r3, #{UNROLLED}", "bge 1b"]
        lines = [*whole, "2:", f"adds r3, r3, #{UNROLLED}", "beq 4f", "3:", *pixel, *turn, "4:"]
    else:
        added = (f"add {place}, r2, #{256 * (i + 1)}" for i, place in enumerate(places[1:]))
        lines = [*added, "3:", *pixel, *turn]
    return "\n".join(["push {r4-r6, lr}", *lines, "pop {r4-r6, pc}"])


LOOK_UP = {tables: look_up(tables) for tables in range(1, MOST_TABLES + 1)}

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

FLIP_RUNS.on(
    "dsp",
    """\
push {r4-r6, lr}
ldr lr, [sp, #16]
mov r12, #0x80808080
sub lr, lr, r2
1:
lsrs r4, r2, #2
beq 3f
2:
ldr r5, [r1], #4
eor r5, r5, r12
str r5, [r0], #4
subs r4, r4, #1
bne 2b
3:
lsls r4, r2, #31
ittt cs
ldrhcs r5, [r1], #2
eorcs r5, r5, r12
strhcs r5, [r0], #2
ittt mi
ldrbmi r5, [r1], #1
eormi r5, r5, r12
strbmi r5, [r0], #1
add r1, r1, lr
subs r3, r3, #1
bne 1b
pop {r4-r6, pc}""",
    guard=dsp.GUARD,
    naked=True,
)
