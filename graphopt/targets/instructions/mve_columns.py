"""A routine for Helium that copies pieces of some bytes from one distance to another."""

from __future__ import annotations

from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.mve import GUARD

COPY_COLUMNS: dict[str, Instruction] = {}
"""By the dtype of what is copied."""

for _dtype, _suffix in (("int8", ""), ("uint8", "_of_bytes")):
    COPY_COLUMNS[_dtype] = instruction(
        Instruction(
            f"copy_columns{_suffix}",
            None,
            {
                "target": f"{_dtype}*",
                "source": f"const {_dtype}*",
                "columns": "int32",
                "size": "int32",
                "target_step": "int32",
                "source_step": "int32",
            },
            "void",
            """\
    for (int32_t i = 0; i < columns; ++i) {
        for (int32_t j = 0; j < size; ++j) {
            target[i * target_step + j] = source[i * source_step + j];
        }
    }""",
            lambda source: source,
            comment="Copies columns of so many bytes, source_step apart, to where they are target_step apart.",
            spans={
                "target": Span("size", (("columns", "target_step"),)),
                "source": Span("size", (("columns", "source_step"),)),
            },
            counts={
                "columns": "columns",
                "bytes": "columns * size",
                "long": "columns * (size > 16)",
                "pieces": "columns * (size > 16) * ((size + 15) / 16)",
                "single": "(size == 1) * (source_step == 1) * columns",
                "scattered": "(size == 1) * (source_step == 1) * ((columns + 7) / 8)",
            },
            alike="copy_columns",
        )
    )

COPY_COLUMNS["int8"].on(
    "mve",
    """\
push {r4-r6, lr}
ldrd r4, r12, [sp, #16]
cmp r2, #0
ble 9f
cmp r3, #1
it eq
cmpeq r12, #1
bne 2f
cmp r4, #8192
bge 2f
movs r6, #0
vidup.u16 q1, r6, #1
vmul.i16 q1, q1, r4
lsl r4, r4, #3
dlstp.16 lr, r2
1:
vldrb.u16 q0, [r1], #8
vstrb.16 q0, [r0, q1]
add r0, r0, r4
letp lr, 1b
b 9f
2:
cmp r3, #16
bgt 4f
vctp.8 r3
dls lr, r2
3:
vpstt
vldrbt.u8 q0, [r1]
vstrbt.8 q0, [r0]
add r1, r1, r12
add r0, r0, r4
le lr, 3b
b 9f
4:
mov r5, r0
mov r6, r1
dlstp.8 lr, r3
5:
vldrb.u8 q0, [r6], #16
vstrb.8 q0, [r5], #16
letp lr, 5b
add r1, r1, r12
add r0, r0, r4
subs r2, r2, #1
bne 4b
9:
pop {r4-r6, pc}""",
    guard=GUARD,
    naked=True,
)
