"""Routines of depthwise convolution for cores with the DSP extension: a tile of pixels of one channel, over and over.

There is one for each window, each stride up to two and each number of pixels, made where a kernel asks for it. It sums
the tile over all taps, two at a time, scales and stores it, and goes on to the next tile, which may be beside it or
below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.dsp_products import RESTORED, SAVED, SAVED_BYTES, scaled
from graphopt.targets.instructions.products import pair

MOST_PIXELS = 5
"""Five accumulators, what they read, and two pointers are all registers."""
REGISTERS = [*(f"r{i}" for i in range(2, 13))]
FRAME = 20
"""Bytes on the stack: the result, its step and its advance, where it ends, and how far the rows go back."""


@dataclass(frozen=True)
class Tile:
    """``pixels`` side by side, by windows of (rows, columns) taps that begin ``stride`` apart.

    If it is ``alone`` in its row, the next row begins where the tile ends. If all channels have the same ``shift``, it
    is a part of the saturation. If it goes ``over_channels``, the next time takes the taps that follow.
    """

    rows: int
    columns: int
    stride: int
    pixels: int
    alone: bool = False
    shift: int | None = None
    over_channels: bool = False

    @property
    def scaling(self) -> int:
        """Numbers by which a sum is scaled: multiplier, addend, and perhaps a shift."""
        return 3 if self.shift is None else 2

    @property
    def phases(self) -> int:
        """Windows begin at even elements alone, or at odd ones too."""
        return 2 if self.stride % 2 and self.pixels > 1 else 1

    @property
    def words(self) -> int:
        """Pairs of taps in a row, at most."""
        return (self.columns + self.phases) // 2

    @property
    def taps(self) -> int:
        """The words of all rows of taps."""
        return self.rows * self.words * self.phases

    @property
    def record(self) -> int:
        """The words of what is read of a channel: its bias, its taps and its scaling."""
        return 1 + self.taps + self.scaling

    @property
    def length(self) -> int:
        """The words of a row that all windows take."""
        return self.start(self.pixels - 1)[0] + self.words

    def start(self, pixel: int) -> tuple[int, int]:
        """The word in which the window of a pixel begins, and the half of it."""
        return divmod(pixel * self.stride, 2)

    def is_tap(self, phase: int, word: int) -> bool:
        return 0 <= word < self.words and 2 * word - phase < self.columns

    def tap(self, row: int, word: int, phase: int) -> int:
        """The place of a pair of weights: by rows, words and phases."""
        return (row * self.words + word) * self.phases + phase

    def packed(self, weight: Array) -> Array:
        """Weights [..., rows, columns] as the words of taps that the routine reads, int32 [..., taps]."""
        pads = [(0, 0)] * (weight.ndim - 1)
        shifted = [np.pad(weight, [*pads, (i, 2 * self.words - self.columns - i)]) for i in range(self.phases)]
        pairs = [pair(row[..., ::2], row[..., 1::2]) for row in shifted]
        return np.stack(pairs, axis=-1).reshape(*weight.shape[:-2], self.taps)


@cache
def depthwise_routine(tile: Tile) -> Instruction:
    """The routine of a tile. Its taps are: the bias, the pairs of weights, multiplier, addend, and perhaps a shift."""
    row = str(4 * tile.length)
    spans = {
        "rows": Span(row, (("count", "2 * advance"), (str(tile.rows), "2 * pitch"))),
        "taps": Span(str(4 * tile.record), (("count", str(4 * tile.record)),) if tile.over_channels else ()),
        "y": Span("1", (("count", "y_advance"), (str(tile.pixels), "step"))),
    }
    portable = instruction(
        Instruction(
            f"depthwise_{tile.rows}x{tile.columns}_by_{tile.stride}_of_{tile.pixels}"
            + "_alone" * tile.alone
            + ("" if tile.shift is None else f"_down_{tile.shift}")
            + "_over_channels" * tile.over_channels,
            None,
            {
                "rows": "const int16*",
                "taps": "const int32*",
                "y": "int8*",
                "step": "int32",
                "pitch": "int32",
                "advance": "int32",
                "y_advance": "int32",
                "count": "int32",
            },
            "void",
            twin(tile),
            lambda windows, weights, bias, scaling: meant(windows, weights, bias, scaling),
            comment=f"""\
Tiles of {tile.pixels} pixels, step apart, of windows in rows that are pitch apart: their products with taps are summed
   and scaled to 8 bits. A tile begins advance elements after the last, and its result y_advance."""
            + " Each has taps of its own." * tile.over_channels,
            depth=2,
            lanes=tile.pixels,
            spans=spans,
        )
    )
    portable.on("dsp", assembly_of(tile), guard=GUARD, naked=True)
    return portable


@cache
def taps_routine(tile: Tile) -> Instruction:
    """The routine that packs the bias and the weights of a channel into taps."""
    shape = f"{tile.rows}x{tile.columns}" + "_twice" * (tile.phases > 1)
    words = [
        f"taps[{tile.words * tile.phases} * ky + {1 + tile.tap(0, word, phase)}] = {packed_pair(tile, word, phase)};"
        for word in range(tile.words)
        for phase in range(tile.phases)
    ]
    portable = instruction(
        Instruction(
            f"pack_taps_{shape}",
            None,
            {"taps": "int32*", "weight": "const int8*", "bias": "const int32*", "up": "int32"},
            "void",
            "\n".join(
                [
                    "    taps[0] = bias[0];",
                    f"    for (int32_t ky = 0; ky < {tile.rows}; ++ky, weight += {tile.columns}) {{",
                    *(f"        {line}" for line in words),
                    "    }",
                ]
            ),
            lambda weight, bias, up: np.append(bias, tile.packed(weight.astype(np.int64) << up)),
            comment="""\
The bias and the weights of a channel as taps: pairs of 16 bits, weights shifted up"""
            + (", for windows that begin at even places, and at odd ones." if tile.phases > 1 else "."),
            spans={
                "taps": Span(str(4 * (1 + tile.taps))),
                "weight": Span(str(tile.rows * tile.columns)),
                "bias": Span("4"),
            },
            apart=True,
        )
    )
    if tile.columns <= MOST_PACKED:
        portable.on("dsp", packing(tile), guard=GUARD, naked=True)
    return portable


MOST_PACKED = 4
"""Weights of a row that are in registers with the words of their pairs."""


def packing(tile: Tile) -> str:
    weights = [f"r{4 + i}" for i in range(tile.columns)]
    words = [*(f"r{i}" for i in range(4 + tile.columns, 13)), "lr"][: tile.words * tile.phases]
    lines = [
        "push {r4-r11, lr}",
        "ldr r2, [r2]",
        "str r2, [r0], #4",
        f"mov r2, #{tile.rows}",
        "1:",
        *(f"ldrsb {weight}, [r1], #1" for weight in weights),
        *(f"lsl {weight}, {weight}, r3" for weight in weights),
    ]
    for i, target in enumerate(words):
        word, phase = divmod(i, tile.phases)
        low, high = (weights[k] if 0 <= k < tile.columns else None for k in (2 * word - phase, 2 * word - phase + 1))
        if low and high:
            lines.append(f"pkhbt {target}, {low}, {high}, lsl #16")
        elif low:
            lines.append(f"uxth {target}, {low}")
        else:
            lines.append(f"lsl {target}, {high}, #16" if high else f"mov {target}, #0")
    return "\n".join([*lines, f"stm r0!, {{{', '.join(words)}}}", "subs r2, r2, #1", "bne 1b", RESTORED])


def packed_pair(tile: Tile, word: int, phase: int) -> str:
    """The C of a pair of weights of one row."""
    low, high = (i if 0 <= i < tile.columns else None for i in (2 * word - phase, 2 * word - phase + 1))
    below = "" if low is None else f"(uint16_t)((uint32_t)weight[{low}] << up)"
    above = "" if high is None else f"(uint32_t)weight[{high}] << up << 16"
    return f"(int32_t)({' | '.join(filter(None, [above, below])) or 0})"


def meant(windows: Array, weights: Array, bias: Array, scaling: Array) -> Array:
    """Of windows [..., taps] and the weights [taps] of a channel: its sums, scaled."""
    acc = bias + windows.astype(np.int64) @ weights.astype(np.int64)
    multiplier, addend, shift = scaling
    return np.asarray(np.clip(((acc * multiplier >> 32) + addend) >> shift, -128, 127).astype(np.int8))


def twin(tile: Tile) -> str:
    lines = ["    for (int32_t i = 0; i < count; ++i) {"]
    shift = f"taps[{tile.taps + 3}]" if tile.shift is None else tile.shift
    for p in range(tile.pixels):
        word, phase = tile.start(p)
        lines += [
            f"        int32_t sum{p} = taps[0];",
            f"        for (int32_t ky = 0; ky < {tile.rows}; ++ky) {{",
            f"            for (int32_t j = 0; j < {sum(tile.is_tap(phase, w) for w in range(tile.words))}; ++j) {{",
            f"                const int16_t *const x = rows + i * advance + ky * pitch + 2 * (j + {word});",
            f"                const int32_t w = taps[1 + (ky * {tile.words} + j) * {tile.phases} + {phase}];",
            f"                sum{p} += x[0] * (int16_t)w + x[1] * (w >> 16);",
            "            }",
            "        }",
            f"        const int32_t upper{p} = (int32_t)((int64_t)sum{p} * taps[{tile.taps + 1}] >> 32);",
            f"        const int32_t y{p} = (upper{p} + taps[{tile.taps + 2}]) >> {shift};",
            f"        y[i * y_advance + {p} * step] = (int8_t)(y{p} < -128 ? -128 : y{p} > 127 ? 127 : y{p});",
        ]
    lines += [f"        taps += {tile.record};"] * tile.over_channels
    return "\n".join([*lines, "    }"])


def assembly_of(tile: Tile) -> str:
    sums, shift = REGISTERS[: tile.pixels], NUMBERS[2] if tile.shift is None else tile.shift
    back = None if tile.over_channels else 1 + tile.taps
    lines = [
        *entry(tile.rows, 1),
        f"ldr {sums[-1]}, [r1], #4",  # the bias, from which all sums start
        *row_of_taps(tile, sums, sums[-1]),
        *(line for _ in range(1, tile.rows) for line in row_of_taps(tile, sums)),
        *ending(back, sums, lambda one: scaled(one, *NUMBERS[:2], shift), NUMBERS[: tile.scaling]),
    ]
    return "\n".join(lines)


def entry(rows: int, bits: int) -> list[str]:
    """Begins a routine, whose elements have ``1 << bits`` bytes; lr is then the pitch in bytes."""
    return [
        SAVED,
        f"sub sp, sp, #{FRAME}",
        f"ldrd lr, r4, [sp, #{SAVED_BYTES + FRAME}]",
        f"ldrd r5, r6, [sp, #{SAVED_BYTES + FRAME + 8}]",
        *([f"lsl lr, lr, #{bits}"] if bits else []),
        "mla r6, r5, r6, r2",
        "str r2, [sp]",
        "strd r3, r5, [sp, #4]",
        f"mov r7, #{rows}",
        "mul r7, r7, lr",
        f"sub r7, r7, r4, lsl #{bits}" if bits else "sub r7, r7, r4",
        "strd r6, r7, [sp, #12]",
        "1:",
    ]


def row_of_taps(tile: Tile, sums: list[str], start: str | None = None) -> list[str]:
    """The products of one row of taps, word by word; r0 points to the row, r1 to its weights, and both go on.

    Sums go on too, or begin with what is in the register ``start``.
    """
    free = REGISTERS[tile.pixels :]
    # of the elements, a word of taps needs as many words as its windows begin in
    needed = tile.start(tile.pixels - 1)[0] + 1
    batch = 2 if len(free) >= needed + 1 + 2 * tile.phases and tile.words > 1 else 1
    follows = tile.alone and len(free) + 1 >= tile.length + batch * tile.phases
    if follows:  # the pitch is not needed
        free = [*free, "lr"]
    held, weights = free[: len(free) - batch * tile.phases], free[len(free) - batch * tile.phases :]
    first = min(tile.length, len(held))
    lines = [load(held[:first], "r0", "!" * follows)]
    place = {word: held[word] for word in range(first)}
    begun = set[str]() if start else set(sums)
    for word in range(tile.words):
        for wanted in range(word, min(word + needed, tile.length)):
            if wanted not in place:
                place[wanted] = place.pop(min(place))
                lines.append(f"ldr {place[wanted]}, [r0, #{4 * wanted}]")
        if word % batch == 0:
            count = min(batch, tile.words - word) * tile.phases
            lines.append(load(weights[:count], "r1", "!"))
        for pixel, total_of in enumerate(sums):
            begin, phase = tile.start(pixel)
            if tile.is_tap(phase, word):
                weight = weights[word % batch * tile.phases + phase]
                added = total_of if total_of in begun else start
                lines.append(f"smlad {total_of}, {place[begin + word]}, {weight}, {added}")
                begun.add(total_of)
    return lines if follows else [*lines, "add r0, r0, lr"]


def load(registers: list[str], pointer: str, writes_back: str) -> str:
    """Words from a pointer on, into registers in ascending order."""
    if len(registers) > 1:
        return f"ldm {pointer}{writes_back}, {{{', '.join(registers)}}}"
    return f"ldr {registers[0]}, [{pointer}], #4" if writes_back else f"ldr {registers[0]}, [{pointer}]"


NUMBERS = "r7", "r8", "r9"
"""Multiplier, addend and shift of a channel, where they are read from its taps."""


def ending(words: int | None, sums: list[str], scale: Callable[[str], list[str]], numbers: Sequence[str]) -> list[str]:
    """Scale the sums, store them, and go to the next tile, whose taps begin so many words before, or end.

    If no words are given, they begin behind these. No sum is above r6. What scales them has ``numbers``, the first of
    ``NUMBERS``.
    """
    listed = f"{{{', '.join(numbers)}}}"
    lines = [f"ldm r1!, {listed}"] if words is None else [f"ldm r1, {listed}", f"sub r1, r1, #{4 * words}"]
    lines += [line for one in sums for line in scale(one)]
    lines += ["ldm sp, {r8-r12}"]  # result, step, advance, end, back
    base = "r8"
    for pixel, one in enumerate(sums):
        if pixel and pixel % 3 == 0:
            lines.append(f"add r7, {base}, r9, lsl #1")
            base = "r7"
        within = pixel if base == "r8" else pixel - 2
        lines.append(f"strb {one}, [{base}{('', ', r9', ', r9, lsl #1')[within]}]")
    lines += ["add r8, r8, r10", "sub r0, r0, r12", "str r8, [sp]", "cmp r8, r11", "bne 1b"]
    return [*lines, f"add sp, sp, #{FRAME}", RESTORED]
