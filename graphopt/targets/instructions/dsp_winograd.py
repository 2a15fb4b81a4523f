"""The routines of ``winograd`` in assembly, for cores with the DSP extension and Thumb-2 (Cortex-M4, M7, M33)."""

from __future__ import annotations

from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.dsp_products import RESTORED, SAVED, SAVED_BYTES, scaled
from graphopt.targets.instructions.winograd import FACTOR_BITS, MOST_BLOCKS, PATCH, PLACES, ROUTINES, SIDE, SPREAD


def text(*parts: str | list[str]) -> str:
    """Lines of assembly, and blocks and lists of them."""
    return "\n".join(line.strip("\n") for part in parts for line in ([part] if isinstance(part, str) else part))


COLUMN = """\
ldr r5, [r1]
ldr r11, [r1, r2]
ldr r9, [r1, r2, lsl #1]
ldr r7, [r1, r3]
sub r1, r1, r0
sxtb16 r4, r5
sxtb16 r12, r11
sxtb16 r8, r9
sxtb16 r10, r7
ssub16 r4, r4, r8
ssub16 r10, r12, r10
sadd16 r6, r12, r8
ssub16 r8, r8, r12
sxtb16 r5, r5, ror #8
sxtb16 r12, r11, ror #8
sxtb16 r9, r9, ror #8
sxtb16 r11, r7, ror #8
ssub16 r5, r5, r9
ssub16 r11, r12, r11
sadd16 r7, r12, r9
ssub16 r9, r9, r12
stmdb lr!, {r4-r11}"""
"""A column of four pixels, from its end on: the even elements in r4, r6, r8 and r10, the odd ones behind them."""
RECORD = 8 * SIDE
"""Bytes of such a column."""
FRAME = 32
"""Bytes of the stack: target, source, blocks, the bytes of a place, step and pitch, and where columns begin and end."""


def row(number: int) -> str:
    """A row of the columns at lr: of both tiles four words, to r0 and then r1 bytes further on each."""
    columns = [("r2", "r3"), ("r4", "r5"), ("r6", "r7"), ("r8", "r9"), ("r10", "r11")]

    def load(column: int, registers: tuple[str, str]) -> str:
        return f"ldrd {', '.join(registers)}, [lr, #{RECORD * column + 8 * number}]"

    def place(op: str, first: int, second: int) -> list[str]:
        """Two columns of the first tile, and the same of the second one, two columns further on."""
        lines = []
        for half, word in enumerate(("r2", "r3")):
            tiles = [(columns[first + two][half], columns[second + two][half]) for two in (0, 2)]
            lines += [f"{op} {to}, {a}, {b}" for to, (a, b) in zip((word, "r12"), tiles, strict=True)]
            lines += [f"strd {word}, r12, [r0, #{8 * half}]"]
        return [*lines, "add r0, r0, r1"]

    last = [
        load(5, columns[4]),
        *("ssub16 r4, r4, r8", "ssub16 r8, r8, r10", "strd r4, r8, [r0]"),
        *("ssub16 r5, r5, r9", "ssub16 r9, r9, r11", "strd r5, r9, [r0, #8]", "add r0, r0, r1"),
    ]
    loads = [load(column, registers) for column, registers in enumerate(columns)]
    return text(loads, place("ssub16", 0, 2), place("sadd16", 1, 2), place("ssub16", 2, 1), last)


SPREAD.on(
    "dsp",
    text(
        f"""\
{SAVED}
ldrd r5, r4, [sp, #{SAVED_BYTES}]
sub sp, sp, #{FRAME}
add r1, r1, r4, lsl #2
add r1, r1, r4
strd r0, r1, [sp]
lsl r6, r3, #4
strd r3, r6, [sp, #8]
strd r4, r5, [sp, #16]
add r6, r2, #{PATCH * RECORD}
strd r2, r6, [sp, #24]
1:
ldrd r0, r2, [sp, #16]
add r3, r2, r2, lsl #1
ldr r1, [sp, #4]
ldr lr, [sp, #28]
2:""",
        [COLUMN] * 2,
        """\
ldr r4, [sp, #24]
cmp lr, r4
bne 2b
ldr r0, [sp]
ldr r1, [sp, #12]
3:""",
        row(0),
        row(1),
        f"""\
add lr, lr, #16
ldr r2, [sp, #24]
add r2, r2, #{RECORD}
cmp lr, r2
bne 3b
ldrd r0, r1, [sp]
add r0, r0, #16
add r1, r1, #4
strd r0, r1, [sp]
ldr r2, [sp, #8]
subs r2, r2, #1
str r2, [sp, #8]
bne 1b
add sp, sp, #{FRAME}
{RESTORED}""",
    ),
    guard=GUARD,
    naked=True,
)

WORDS = "ldm r0!, {r6-r9}\nldm r1!, {r10-r12, lr}"
SUMS = [("r2", "r6", "r8", "r10", "r12"), ("r3", "r7", "r9", "r10", "r12")]
SUMS += [("r4", "r6", "r8", "r11", "lr"), ("r5", "r7", "r9", "r11", "lr")]
"""Each with the words of its tile and of its channel."""
SECOND = [f"smlad {total}, {x}, {w}, {total}" for total, _, x, _, w in SUMS]
FIRST_BLOCK = text(WORDS, [f"smuad {total}, {x}, {w}" for total, x, _, w, _ in SUMS], SECOND)
BLOCK = text(WORDS, [f"smlad {total}, {x}, {w}, {total}" for total, x, _, w, _ in SUMS], SECOND)
BLOCK_BYTES = 4 * (BLOCK.count("\n") + 1)
TURN = 8
"""Blocks in a turn of the loop of deep tiles."""
PLACE_BYTES = 4 * len(SUMS)
"""Of the sums of a place."""
SUMS_FRAME = 36
"""Bytes of the stack: where the next sums go and where these end, the place to jump to, x, the groups that are left, y,
of deep tiles the end of a place and its bytes, and where the sums begin."""
ARGUMENTS = SUMS_FRAME + SAVED_BYTES


def entered(deep: bool) -> str:
    """Where the blocks behind the first are entered; r3 has their number."""
    if not deep:
        return text("subs r4, r3, #1", f"mov r5, #{BLOCK_BYTES}", "adr r6, 4f", "mls r4, r4, r5, r6", "orr r4, r4, #1")
    return f"""\
rsbs r4, r3, #1
and r4, r4, #{TURN - 1}
mov r5, #{BLOCK_BYTES}
adr r6, 3f
mla r4, r4, r5, r6
adr r6, 4f
it eq
moveq r4, r6
orr r4, r4, #1
lsl r5, r3, #4
str r5, [sp, #28]"""


def blocks(deep: bool) -> str:
    if not deep:
        return text([BLOCK] * (MOST_BLOCKS - 1))
    return text(
        [BLOCK] * TURN,
        """\
ldrd r6, r7, [sp, #24]
cmp r0, r6
bne 3b
add r6, r6, r7
str r6, [sp, #24]""",
    )


def summed(column: int) -> list[str]:
    """The sums of a column of places, of the first row of results and of the second."""
    first, second = f"r{4 + column}", f"r{8 + column}"
    loads = [
        f"ldr {register}, [r3, #{PLACE_BYTES * (SIDE * place + column)}]"
        for place, register in enumerate((first, second, "r12", "lr"))
    ]
    start = [f"add {second}, {second}, r0"] if column == 1 else []  # which all results have once
    return [
        *(*loads, *start),
        *(f"add {first}, {first}, {second}", f"sub {second}, {second}, r12"),
        *(f"add {first}, {first}, r12", f"sub {second}, {second}, lr"),
    ]


RESULTS = """\
add r4, r4, r5
add r4, r4, r6
sub r5, r5, r6
sub r5, r5, r7
add r8, r8, r9
add r8, r8, r10
sub r9, r9, r10
sub r9, r9, r11"""
"""Two of the first row, r4 and r5, and of the second, r8 and r9."""


def of_tiles(scales: bool, deep: bool) -> str:
    """Two tiles by two channels; then tile by tile the results of a channel."""
    numbers, store, bits = (4, "strb", 0) if scales else (1, "str", 2)
    results = ["r4", "r5", "r8", "r9"]
    if scales:
        finished = ["ldm r1, {r10-r12}", *(line for each in results for line in scaled(each, "r10", "r11", "r12"))]
    else:
        finished = [f"asr {each}, {each}, #{FACTOR_BITS}" for each in results]
    beside = f", lsl #{bits}" if bits else ""
    place = "ldr r7, [sp, #28]\nadd r7, r0, r7\nstr r7, [sp, #24]"
    return text(
        f"""\
{SAVED}
sub sp, sp, #{SUMS_FRAME}
str r0, [sp, #12]
str r3, [sp, #32]
add r5, r3, #{PLACES * PLACE_BYTES}
str r5, [sp, #4]
ldrd r3, r4, [sp, #{ARGUMENTS}]
strd r4, r2, [sp, #16]""",
        entered(deep),
        """\
str r4, [sp, #8]
1:
ldr r0, [sp, #12]
ldr r6, [sp, #32]
str r6, [sp]""",
        [place] if deep else [],
        "2:",
        FIRST_BLOCK,
        """\
ldr pc, [sp, #8]
3:""",
        blocks(deep),
        f"""\
4:
ldrd r6, r7, [sp]
stm r6!, {{r2-r5}}
str r6, [sp]
cmp r6, r7
bne 2b
ldr r3, [sp, #32]
ldr r2, [sp, #20]
5:
ldr r0, [r1, #{4 * numbers - 4}]""",
        [line for column in range(SIDE) for line in summed(column)],
        RESULTS,
        finished,
        f"""\
ldrd r6, r7, [sp, #{ARGUMENTS + 8}]
add r0, r2, r7{beside}
{store} r8, [r2, r6{beside}]
{store} r9, [r0, r6{beside}]
{store} r4, [r2]
{store} r5, [r0]
add r3, r3, #4
ldr r6, [sp, #32]
sub r6, r3, r6
add r2, r2, r7, lsl #{1 + bits}
tst r6, #4
bne 5b
sub r2, r2, r7, lsl #{2 + bits}
add r2, r2, #{1 << bits}
add r1, r1, #{4 * numbers}
cmp r6, #{PLACE_BYTES}
bne 5b
str r2, [sp, #20]
ldr r4, [sp, #16]
subs r4, r4, #1
str r4, [sp, #16]
bne 1b
add sp, sp, #{SUMS_FRAME}
{RESTORED}""",
    )


for (_scales, _deep), _routine in ROUTINES.items():
    _routine.on("dsp", of_tiles(_scales, _deep), guard=GUARD, naked=True)
