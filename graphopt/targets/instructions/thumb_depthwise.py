"""Depthwise convolution for Thumb without a DSP extension: a tile of pixels of one channel, over and over.

The elements are unsigned, as ``OFFSET_ROWS`` gives them: ARMv6-M loads unsigned bytes alone at a distance that is
written out. There is a routine for each window, stride and number of pixels, as ``dsp_depthwise`` has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from graphopt.targets.instructions import armv6m_products as armv6m
from graphopt.targets.instructions import armv7m_products as armv7m
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.dsp_depthwise import NUMBERS, REGISTERS, ending, entry, load, meant

MOST_TAPS = 49
"""Taps are written out, and on ARMv6-M the branch back reaches over so many."""
MOST_REACH = 32
"""Elements from a pointer on that ARMv6-M can load."""


@dataclass(frozen=True)
class Tile:
    """``pixels`` side by side, by windows of (rows, columns) taps that begin ``stride`` apart."""

    rows: int
    columns: int
    stride: int
    pixels: int

    @property
    def reach(self) -> int:
        """The elements of a row that its windows have."""
        return (self.pixels - 1) * self.stride + self.columns

    @property
    def taps(self) -> int:
        return self.rows * self.columns


@cache
def depthwise_routine(tile: Tile) -> Instruction:
    """The routine of a tile. Its taps are words: bias, weights, then multiplier, addend and shift."""
    portable = instruction(
        Instruction(
            f"depthwise_{tile.rows}x{tile.columns}_by_{tile.stride}_of_{tile.pixels}_bytes",
            None,
            {
                "rows": "const uint8*",
                "taps": "const int32*",
                "y": "int8*",
                **dict.fromkeys(("step", "pitch", "advance", "y_advance", "count"), "int32"),
            },
            "void",
            twin(tile),
            meant,
            comment=f"""\
Tiles of {tile.pixels} pixels, step apart, of windows in rows that are pitch apart: their products with taps are summed
   and scaled to 8 bits. A tile begins advance elements after the last, and its result y_advance.""",
            depth=1,
            lanes=tile.pixels,
            spans={
                "rows": Span(str(tile.reach), (("count", "advance"), (str(tile.rows), "pitch"))),
                "taps": Span(str(4 * (tile.taps + 4))),
                "y": Span("1", (("count", "y_advance"), (str(tile.pixels), "step"))),
            },
            counts={"1": "count", "3": f"{tile.pixels} * count"},
        )
    )
    portable.on("armv7-m", armv7m_assembly(tile), guard=armv7m.GUARD, naked=True)
    if tile.reach <= MOST_REACH:
        portable.on("armv6-m", armv6m_assembly(tile), guard=armv6m.GUARD, naked=True)
    return portable


def twin(tile: Tile) -> str:
    place = f"p * {tile.stride} + kx" if tile.pixels > 1 else "kx"
    return f"""\
    for (int32_t i = 0; i < count; ++i) {{
        for (int32_t p = 0; p < {tile.pixels}; ++p) {{
            uint32_t sum = (uint32_t)taps[0];
            for (int32_t ky = 0; ky < {tile.rows}; ++ky) {{
                for (int32_t kx = 0; kx < {tile.columns}; ++kx) {{
                    const int32_t x = rows[i * advance + ky * pitch + {place}];
                    sum += (uint32_t)(x * taps[1 + ky * {tile.columns} + kx]);
                }}
            }}
            const int32_t upper = (int32_t)((int64_t)(int32_t)sum * taps[{tile.taps + 1}] >> 32);
            const int32_t scaled = (upper + taps[{tile.taps + 2}]) >> taps[{tile.taps + 3}];
            y[i * y_advance + p * step] = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);
        }}
    }}"""


def armv7m_assembly(tile: Tile) -> str:
    """The sums are in registers, and so are an element and the weights of a row, or of a part of it."""
    sums, element, *weights = (REGISTERS[: tile.pixels], *REGISTERS[tile.pixels :])
    lines = [
        *entry(tile.rows, 0),
        f"ldr {sums[0]}, [r1], #4",
        *(f"mov {other}, {sums[0]}" for other in sums[1:]),
    ]
    for _ in range(tile.rows):
        for first in range(0, tile.columns, len(weights)):
            columns = range(first, min(first + len(weights), tile.columns))
            lines += [load(weights[: len(columns)], "r1", "!")]
            for place in range(first, (tile.pixels - 1) * tile.stride + columns[-1] + 1):
                taps = [(total, place - p * tile.stride) for p, total in enumerate(sums)]
                found = [(total, weights[tap - first]) for total, tap in taps if tap in columns]
                lines += [f"ldrb {element}, [r0, #{place}]"] if found else []
                lines += [f"mla {total}, {element}, {weight}, {total}" for total, weight in found]
        lines += ["add r0, r0, lr"]
    return "\n".join([*lines, *ending(1 + tile.taps, sums, scaled_on_armv7m, NUMBERS)])


def scaled_on_armv7m(total: str) -> list[str]:
    return armv7m.scaled(total, "r10", total, NUMBERS)


SUMS = ["r2", "r5", "r6", "r7", "r8"]
"""On ARMv6-M. r0 points to the row, r1 to a tap, r3 has its weight, and r4 an element and its product."""
PITCH, STEP, ROWS, TAPS, ADVANCE = "r9", "r10", "r11", "r12", "lr"
FOUND, Y, FRAME = 0, 20, 24
"""Places on the stack: five sums, and where the next result is."""
Y_ADVANCE = armv6m.SAVED_BYTES + FRAME + 8
COUNT = Y_ADVANCE + 4


def armv6m_assembly(tile: Tile) -> str:
    """The sums are in registers until a tile is done."""
    sums = SUMS[: tile.pixels]
    lines = [
        armv6m.SAVED,
        f"sub sp, #{FRAME}",
        f"str r2, [sp, #{Y}]",
        f"mov {STEP}, r3",
        f"ldr r4, [sp, #{Y_ADVANCE - 8}]",
        f"mov {PITCH}, r4",
        f"movs r5, #{tile.rows}",
        "muls r5, r4, r5",
        f"ldr r4, [sp, #{Y_ADVANCE - 4}]",
        "subs r4, r4, r5",
        f"mov {ADVANCE}, r4",
        f"mov {TAPS}, r1",
        "1:",
        "ldm r1!, {r2}",
        *(f"mov {other}, r2" for other in sums[1:]),
    ]
    for _ in range(tile.rows):
        for column in range(tile.columns):
            lines += ["ldm r1!, {r3}"]
            for p, total in enumerate(sums):
                lines += [f"ldrb r4, [r0, #{p * tile.stride + column}]", "muls r4, r3, r4", f"add {total}, r4"]
        lines += [f"add r0, {PITCH}"]
    lines += [f"add r0, {ADVANCE}", f"mov {ROWS}, r0"]
    for p, total in enumerate(sums):
        low = total if total != "r8" else "r3"
        lines += [*([f"mov {low}, {total}"] if low != total else []), f"str {low}, [sp, #{FOUND + 4 * p}]"]
    lines += [
        "mov r7, r1",
        f"add r5, sp, #{FOUND + 4 * tile.pixels}",
        "mov r8, r5",
        f"add r5, sp, #{FOUND}",
        f"ldr r6, [sp, #{Y}]",
        "3:",
        "ldm r5!, {r0}",
        "ldr r4, [r7]",
        armv6m.UPPER,
        "ldr r0, [r7, #4]",
        "ldr r1, [r7, #8]",
        armv6m.NARROWED,
        f"add r6, {STEP}",
        "cmp r5, r8",
        "bne 3b",
        f"ldr r2, [sp, #{Y}]",
        f"ldr r3, [sp, #{Y_ADVANCE}]",
        "adds r2, r2, r3",
        f"str r2, [sp, #{Y}]",
        f"mov r0, {ROWS}",
        f"mov r1, {TAPS}",
        f"ldr r3, [sp, #{COUNT}]",
        "subs r3, r3, #1",
        f"str r3, [sp, #{COUNT}]",
        "beq 5f",
        "b 1b",
        "5:",
        f"add sp, #{FRAME}",
        armv6m.RESTORED,
    ]
    return "\n".join(lines)
