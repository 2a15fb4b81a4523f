"""The routines of ``products`` in assembly, for cores with the DSP extension and Thumb-2 (Cortex-M4, M7, M33).

In C, compilers load each word by an instruction of its own and run short of registers. LDM loads four words at once,
from memory that is aligned to words; elements that may not be are loaded by LDR.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.products import BLOCK, GATHER_PAIR, PACKED, SCALE_ROW, WIDE

SAVED = "push {r4-r11, lr}"
RESTORED = "pop {r4-r11, pc}"
SAVED_BYTES = 36


Pairs = list[tuple[str, str]]
"""Registers of the two words of elements; the second has the elements at first."""


def expanding(pairs: Pairs) -> str:
    """The odd elements into the first register of each pair, the even ones into the second."""
    return "\n".join(
        [
            *(f"sxtb16 {odd}, {word}, ror #8" for odd, word in pairs),
            *(f"ssub16 {odd}, {odd}, r12" for odd, _ in pairs),
            *(f"and {word}, lr, {word}, lsl #8" for _, word in pairs),
            *(f"ssub16 {word}, {word}, {odd}" for odd, word in pairs),
            "",
        ]
    )


def widening(pairs: Pairs) -> str:
    """The even elements into the first register of each pair, the odd ones into the second."""
    lines = [(f"sxtb16 {even}, {word}", f"sxtb16 {word}, {word}, ror #8") for even, word in pairs]
    return "\n".join([*(line for both in lines for line in both), ""])


def in_twos(count: str, one: str, two: str) -> str:
    """What is done to each of a count of things, to one alone if it is odd, and then to two at once."""
    return f"""\
lsrs {count}, {count}, #1
bcc 2f
{one}2:
beq 4f
3:
{two}subs {count}, {count}, #1
bne 3b
4:
"""


CONSTANTS = "mov r12, #0x007f007f\nmov lr, #0xff00ff00\n"
ELEMENTS = ((PACKED, expanding, CONSTANTS), (WIDE, widening, ""))
for _form, _brought, _constants in ELEMENTS:
    _two, _four = _brought([("r4", "r5"), ("r6", "r7")]), _brought([(f"r{i}", f"r{i + 1}") for i in (4, 6, 8, 10)])
    _one = f"ldr r5, [r1], #4\n{_brought([('r4', 'r5')])}stm r0!, {{r4, r5}}\n"
    _words = in_twos("r2", _one, f"ldr r5, [r1], #4\nldr r7, [r1], #4\n{_two}stm r0!, {{r4-r7}}\n")
    _form.elements[1].on("dsp", f"push {{r4-r7, lr}}\n{_constants}{_words}pop {{r4-r7, pc}}", guard=GUARD, naked=True)
    _words = in_twos(
        "r3",
        f"ldr r5, [r1], #4\nldr r7, [r2], #4\n{_two}stm r0!, {{r4-r7}}\n",
        f"""\
ldr r5, [r1], #4
ldr r9, [r1], #4
ldr r7, [r2], #4
ldr r11, [r2], #4
{_four}stm r0!, {{r4-r11}}
""",
    )
    _form.elements[2].on("dsp", f"{SAVED}\n{_constants}{_words}{RESTORED}", guard=GUARD, naked=True)

ONE_BLOCK = "ldm r1!, {r4, r5}\nldm r2!, {r6, r7}\nstm r0!, {r4-r7}\n"
TWO_BLOCKS = "ldm r1!, {r4, r5, r8, r9}\nldm r2!, {r6, r7, r10, r11}\nstm r0!, {r4-r11}\n"

GATHER_PAIR.on(
    "dsp",
    f"""\
{SAVED}
add r2, r1, r2, lsl #2
ldr r12, [sp, #{SAVED_BYTES}]
1:
mov lr, r3
{in_twos("lr", ONE_BLOCK, TWO_BLOCKS)}ldr r4, [sp, #{SAVED_BYTES + 4}]
add r1, r1, r4, lsl #2
add r2, r2, r4, lsl #2
subs r12, r12, #1
bne 1b
{RESTORED}""",
    guard=GUARD,
    naked=True,
)


def all_pairs(elements: Sequence[object], weights: Sequence[object]) -> list[tuple[int, int]]:
    """A pixel and a channel for each accumulator."""
    return [(p, c) for p in range(len(elements)) for c in range(len(weights))]


def products(accumulators: list[str], elements: list[tuple[str, str]], weights: list[str]) -> str:
    """A block of products: of the two words of each pixel and a word of each channel, pixel by pixel accumulators."""
    pairs = all_pairs(elements, weights)
    sums = dict(zip(pairs, accumulators, strict=True))

    def step(word: int) -> list[str]:
        return [f"smlad {sums[p, c]}, {elements[p][word]}, {weights[c]}, {sums[p, c]}" for p, c in pairs]

    return "\n".join([*step(0), *(f"sxtb16 {w}, {w}" for w in weights), *step(1), ""])


def scaled(accumulator: str, multiplier: str, addend: str, shift: str | int, bits: int = 8) -> list[str]:
    """A sum by multiplier, addend and shift; where the shift is a number, it is a part of the saturation."""
    product = f"smmla {accumulator}, {accumulator}, {multiplier}, {addend}"
    if isinstance(shift, int):
        return [product, f"ssat {accumulator}, #{bits}, {accumulator}, asr #{shift}"]
    return [
        product,
        f"asr {accumulator}, {accumulator}, {shift}",
        f"ssat {accumulator}, #{bits}, {accumulator}",
    ]


def loops(two_blocks: str, one_block: str, turn: int) -> str:
    """All blocks, so many pairs in a turn; [sp, #12] has where to begin, [sp, #16] where to go on after an odd one."""
    return f"""\
ldr pc, [sp, #12]
2:
{one_block}ldr pc, [sp, #16]
3:
{two_blocks * turn}ldr r6, [sp, #8]
cmp r0, r6
bne 3b
5:
ldr r0, [sp, #20]
"""


def entry(bytes_of_block: int, two_blocks: str, turn: int) -> str:
    """Where x ends, and where the loop over its blocks is entered; r4 has the blocks, and r6 to r9 are free.

    A block that is left over comes first, and then the pairs that do not fill a turn, by a jump into it.
    """
    # every instruction of a turn has four bytes
    return f"""\
add r6, r0, r4, lsl #{bytes_of_block.bit_length() - 1}
str r6, [sp, #8]
str r0, [sp, #20]
adr r7, 3f
adr r8, 5f
lsrs r6, r4, #1
rsb r6, r6, #0
and r6, r6, #{turn - 1}
mov r9, #{4 * two_blocks.count(chr(10))}
mla r7, r6, r9, r7
it eq
moveq r7, r8
orr r7, r7, #1
str r7, [sp, #16]
adr r8, 2f
orr r8, r8, #1
it cs
movcs r7, r8
str r7, [sp, #12]
"""


def wide_products(accumulators: list[str], elements: list[tuple[str, str]], weights: list[list[str]]) -> str:
    """A block of products with wide weights, each word of them for all channels; the second follows the first."""
    found = [
        f"smlad {acc}, {elements[p][word]}, {weights[word][c]}, {acc}"
        for word in range(2)
        for acc, (p, c) in zip(accumulators, all_pairs(elements, weights[0]), strict=True)
    ]
    return "\n".join([*found, ""])


TURN_OF_PAIRS, TURN_OF_ROW = 8, 2
"""Pairs of blocks in a turn of the loops."""
PAIR = [("r6", "r7"), ("r8", "r9")]
SUMS = ["r2", "r3", "r4", "r5"]
SHIFTED_DOWN = "".join(f"asr {acc}, {acc}, #8\n" for acc in SUMS)


def blocks_of_pairs(wide: bool) -> tuple[str, str]:
    """Two blocks, and one, of two pixels by two channels."""
    if wide:
        products_of_block = wide_products(SUMS, PAIR, [["r10", "r11"], ["r12", "lr"]])
        one = f"ldm r0!, {{r6-r9}}\nldm r1!, {{r10-r12, lr}}\n{products_of_block}"
        return one * 2, one
    even = products(SUMS, PAIR, ["r10", "r11"])
    odd = products(SUMS, PAIR, ["r12", "lr"])
    two = f"ldm r0!, {{r6-r9}}\nldm r1!, {{r10-r12, lr}}\n{even}ldm r0!, {{r6-r9}}\n{odd}"
    return two, f"ldm r0!, {{r6-r9}}\nldm r1!, {{r10, r11}}\n{even}"


def of_pairs(wide: bool, stored: str, bytes_of_result: int) -> str:
    """Two pixels by two channels: r2 and r3 are the sums of the first pixel, r4 and r5 those of the second."""
    two, one = blocks_of_pairs(wide)
    return f"""\
{SAVED}
sub sp, sp, #28
ldrd r4, r5, [sp, #{SAVED_BYTES + 28}]
strd r2, r3, [sp]
{entry(16, two, TURN_OF_PAIRS)}add r2, r2, r5, lsl #{bytes_of_result.bit_length()}
str r2, [sp, #24]
1:
ldm r1!, {{r2, r3}}
mov r4, r2
mov r5, r3
{loops(two, one, TURN_OF_PAIRS)}{stored}ldr r6, [sp, #24]
cmp r12, r6
bne 1b
add sp, sp, #28
{RESTORED}"""


NUMBERS = [("r6", "r7", "r8"), ("r9", "r10", "r11")]
"""Of two channels: multiplier, addend and shift."""
SCALED_PAIRS = "\n".join(
    [
        "ldm r1!, {r6-r11}",
        *(line for acc, numbers in zip(SUMS, NUMBERS * 2, strict=True) for line in scaled(acc, *numbers)),
        "ldrd r12, lr, [sp]",
        "strb r2, [r12], #1",
        "strb r3, [r12], #1",
        "strb r4, [lr], #1",
        "strb r5, [lr], #1",
        "strd r12, lr, [sp]",
        "",
    ]
)
SUMS_OF_PAIRS = """\
ldrd r12, lr, [sp]
stm r12!, {r2, r3}
stm lr!, {r4, r5}
strd r12, lr, [sp]
"""


def blocks_of_row(wide: bool) -> tuple[str, str]:
    """Two blocks, and one, of one pixel by four channels."""
    weights = ["r6", "r7", "r8", "r9"]
    load = "ldm r1!, {r6-r9}\n"

    def block(elements: tuple[str, str]) -> str:
        if not wide:
            return load + products(SUMS, [elements], weights)
        steps = [[f"smlad {acc}, {x}, {w}, {acc}" for acc, w in zip(SUMS, weights, strict=True)] for x in elements]
        return "".join(load + "\n".join([*step, ""]) for step in steps)

    first, second = block(("r10", "r11")), block(("r12", "lr"))
    return f"ldm r0!, {{r10-r12, lr}}\n{first}{second}", f"ldm r0!, {{r10, r11}}\n{first}"


def bare_block() -> str:
    """The same of a block that is expanded on the way."""
    weights = ["r6", "r7", "r8", "r9"]
    load = "ldr r11, [r0], #4\nldm r1!, {r6-r9}\n"
    return load + expanding([("r10", "r11")]) + products(SUMS, [("r10", "r11")], weights)


def of_row(two: str, one: str, stored: str, bytes_of_result: int, bytes_of_block: int = 8, constants: str = "") -> str:
    """One pixel by four channels, whose sums are r2 to r5; ``constants`` are what blocks need in registers."""
    return f"""\
{SAVED}
sub sp, sp, #28
mov r4, r3
ldr r5, [sp, #{SAVED_BYTES + 28}]
str r2, [sp]
{entry(bytes_of_block, two, TURN_OF_ROW)}add r2, r2, r5, lsl #{bytes_of_result.bit_length() + 1}
str r2, [sp, #24]
1:
{constants}ldm r1!, {{r2-r5}}
{loops(two, one, TURN_OF_ROW)}ldr r12, [sp]
{stored}str r12, [sp]
ldr r6, [sp, #24]
cmp r12, r6
bne 1b
add sp, sp, #28
{RESTORED}"""


def scaled_row(store: str, size: int) -> str:
    """Scales the sums of a row, and stores results of so many bytes."""
    lines = []
    for i, acc in enumerate(SUMS):
        lines += ["ldm r1!, {r6-r11}"] if i % len(NUMBERS) == 0 else []
        lines += [*scaled(acc, *NUMBERS[i % len(NUMBERS)], 8 * size), f"{store} {acc}, [r12], #{size}"]
    return "\n".join([*lines, ""])


for _form in (PACKED, WIDE):
    _wide, _down, _row = _form is WIDE, SHIFTED_DOWN * (_form is PACKED), blocks_of_row(_form is WIDE)
    _form.routines[False, True].on("dsp", of_pairs(_wide, SCALED_PAIRS, 1), guard=GUARD, naked=True)
    _form.routines[False, False].on("dsp", of_pairs(_wide, _down + SUMS_OF_PAIRS, 4), guard=GUARD, naked=True)
    _form.routines[True, True].on("dsp", of_row(*_row, scaled_row("strb", 1), 1), guard=GUARD, naked=True)
    _form.routines[True, False].on("dsp", of_row(*_row, _down + "stm r12!, {r2-r5}\n", 4), guard=GUARD, naked=True)
SCALE_ROW.on("dsp", of_row(*blocks_of_row(wide=False), scaled_row("strh", 2), 2), guard=GUARD, naked=True)
for _scales, _stored, _size in ((True, scaled_row("strb", 1), 1), (False, SHIFTED_DOWN + "stm r12!, {r2-r5}\n", 4)):
    _bare = of_row(bare_block() * 2, bare_block(), _stored, _size, BLOCK, CONSTANTS)
    PACKED.bare[_scales].on("dsp", _bare, guard=GUARD, naked=True)
