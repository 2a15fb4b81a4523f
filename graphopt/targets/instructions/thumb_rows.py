"""Rows of elements as unsigned bytes, for the routines of Thumb without a DSP extension."""

from __future__ import annotations

from dataclasses import replace

from graphopt.targets.instructions import armv6m_products as armv6m
from graphopt.targets.instructions import armv7m_products as armv7m
from graphopt.targets.instructions.base import INSTRUCTIONS, Instruction, Span, instruction

OFFSET = 128
"""What is added to elements."""

OFFSET_ROWS = instruction(
    Instruction(
        "offset_rows",
        None,
        {
            "target": "uint8*",
            "source": "const int8*",
            "step": "int32",
            "width": "int32",
            "lines": "int32",
            "gap": "int32",
        },
        "void",
        f"""\
    for (int32_t line = 0; line < lines; ++line) {{
        for (int32_t i = 0; i < width; ++i, source += step) {{
            *target++ = (uint8_t)(*source + {OFFSET});
        }}
        target += gap;
    }}""",
        lambda source: source.view("uint8") ^ OFFSET,
        comment=f"Adds {OFFSET} to elements that are step apart, and writes them to rows, with a gap behind each.",
        spans={
            "target": Span("width", (("lines", "(width + gap)"),)),
            "source": Span("1", (("lines * width", "step"),)),
        },
    )
)

OFFSET_ROWS.on(
    "armv7-m",
    """\
push {r4-r9, lr}
ldrd r8, r9, [sp, #28]
add r12, r2, r2, lsl #1
1:
subs lr, r3, #4
blt 3f
2:
ldrb r4, [r1]
ldrb r5, [r1, r2]
ldrb r6, [r1, r2, lsl #1]
ldrb r7, [r1, r12]
add r1, r1, r2, lsl #2
orr r4, r4, r5, lsl #8
orr r6, r6, r7, lsl #8
orr r4, r4, r6, lsl #16
eor r4, r4, #0x80808080
str r4, [r0], #4
subs lr, lr, #4
bge 2b
3:
adds lr, lr, #4
beq 5f
4:
ldrb r4, [r1]
add r1, r1, r2
eor r4, r4, #0x80
strb r4, [r0], #1
subs lr, lr, #1
bne 4b
5:
add r0, r0, r9
subs r8, r8, #1
bne 1b
pop {r4-r9, pc}""",
    guard=armv7m.GUARD,
    naked=True,
)

OFFSET_ROWS.on(
    "armv6-m",
    """\
.syntax unified
push {r4-r7, lr}
mov r4, r8
mov r5, r9
push {r4, r5}
mov r8, r3
lsls r5, r2, #1
adds r6, r5, r2
adds r4, r6, r2
mov r9, r4
1:
mov r7, r8
subs r7, r7, #4
blt 3f
2:
ldrb r4, [r1]
adds r4, r4, #128
strb r4, [r0]
ldrb r4, [r1, r2]
adds r4, r4, #128
strb r4, [r0, #1]
ldrb r4, [r1, r5]
adds r4, r4, #128
strb r4, [r0, #2]
ldrb r4, [r1, r6]
adds r4, r4, #128
strb r4, [r0, #3]
add r1, r9
adds r0, r0, #4
subs r7, r7, #4
bge 2b
3:
adds r7, r7, #4
beq 5f
4:
ldrb r4, [r1]
adds r4, r4, #128
strb r4, [r0]
adds r1, r1, r2
adds r0, r0, #1
subs r7, r7, #1
bne 4b
5:
ldr r4, [sp, #32]
adds r0, r0, r4
ldr r4, [sp, #28]
subs r4, r4, #1
str r4, [sp, #28]
bne 1b
pop {r4, r5}
mov r8, r4
mov r9, r5
pop {r4-r7, pc}""",
    guard=armv6m.GUARD,
    naked=True,
)

ADDED = ("eor r4, r4, #0x80808080", "eor r4, r4, #0x80", "adds r4, r4, #128")
"""The lines that add the offset."""


def as_they_are(isa: str | None) -> Instruction:
    """The routine of elements that are unsigned as they are."""
    signed = INSTRUCTIONS["offset_rows", isa]
    body = "\n".join(line for line in signed.body.splitlines() if line not in ADDED)
    return instruction(
        replace(
            signed,
            name="copy_rows",
            operands={**signed.operands, "source": "const uint8*"},
            body=body.replace(f"(uint8_t)(*source + {OFFSET})", "*source"),
            meaning=lambda source: source,
            comment="Copies elements that are step apart to rows, with a gap behind each.",
            alike=signed.name,
        )
    )


UNSIGNED_ROWS = {"int8": OFFSET_ROWS, "uint8": as_they_are(None)}
"""By the dtype of elements."""
for _isa in ("armv7-m", "armv6-m"):
    as_they_are(_isa)
