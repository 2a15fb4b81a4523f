"""The DSP extension of ARMv7E-M and ARMv8-M."""

from graphopt.targets.instructions.portable import (
    ADD_PRODUCTS,
    CLIP_BYTES,
    COPY_RUNS,
    INTERPOLATE,
    MOVE_ROWS,
    MULTIPLY_UPPER,
    PAIR_AT,
)

GUARD = "defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)"
"""Of what is written in Thumb-2, or reads halves of words."""

MULTIPLY_UPPER.on(
    "dsp",
    """\
    int32_t sum;
    __asm__("smmla %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;""",
    guard="defined(__ARM_FEATURE_DSP)",
    comment="The upper half of a * b in 64 bits, plus c.",
)

CLIP_BYTES.on(
    "dsp",
    """\
push {r4, lr}
and r1, r1, #255
and r2, r2, #255
mov r4, #0x01010101
mul r1, r1, r4
mul r2, r2, r4
subs r3, r3, #4
blt 2f
1:
ldr r4, [r0]
ssub8 r12, r4, r1
sel r4, r4, r1
ssub8 r12, r2, r4
sel r4, r4, r2
str r4, [r0], #4
subs r3, r3, #4
bge 1b
2:
adds r3, r3, #4
beq 4f
3:
ldrb r4, [r0]
ssub8 r12, r4, r1
sel r4, r4, r1
ssub8 r12, r2, r4
sel r4, r4, r2
strb r4, [r0], #1
subs r3, r3, #1
bne 3b
4:
pop {r4, pc}""",
    guard=GUARD,
    naked=True,
)

ADD_PRODUCTS.on(
    "dsp",
    """\
    __asm__("smlad %0, %1, %2, %0" : "+r"(total) : "r"(a), "r"(b));
    return total;""",
    guard="defined(__ARM_FEATURE_DSP)",
    comment="The total plus the products of the two halves of a and b.",
)

PAIR_AT.on(
    "dsp",
    """\
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair;""",
    guard=GUARD,
    comment="Two elements side by side in one word, the first in the lower half.",
    includes=("string.h",),
)

INTERPOLATE.on(
    "dsp",
    """\
    int32_t place, pair, between;
    __asm__("ssat %0, #16, %1" : "=r"(place) : "r"(x));
    memcpy(&pair, table + 256 + (place >> 7), sizeof pair);
    __asm__("smlad %0, %1, %2, %3" : "=r"(between) : "r"(pair), "r"((place & 127) * 65535 + 128), "r"(64));
    return between >> 7;""",
    guard=GUARD,
    includes=("string.h",),
)

MOVE_ROWS["int16"].on(
    "dsp",
    """\
push {r4-r6, lr}
subs r2, r2, #8
blt 2f
1:
ldm r1!, {r3-r6}
stm r0!, {r3-r6}
subs r2, r2, #8
bge 1b
2:
adds r2, r2, #8
beq 4f
3:
ldrsh r3, [r1], #2
strh r3, [r0], #2
subs r2, r2, #1
bne 3b
4:
pop {r4-r6, pc}""",
    guard=GUARD,
    naked=True,
    comment="Moves elements to lower places, both at even ones; the two may overlap.",
)

COPY_RUNS.on(
    "dsp",
    """\
push {r4-r6, lr}
ldr lr, [sp, #16]
sub lr, lr, r2
1:
lsrs r4, r2, #2
beq 3f
2:
ldr r5, [r1], #4
str r5, [r0], #4
subs r4, r4, #1
bne 2b
3:
lsls r4, r2, #31
itt cs
ldrhcs r5, [r1], #2
strhcs r5, [r0], #2
itt mi
ldrbmi r5, [r1], #1
strbmi r5, [r0], #1
add r1, r1, lr
subs r3, r3, #1
bne 1b
pop {r4-r6, pc}""",
    guard=GUARD,
    naked=True,
)
