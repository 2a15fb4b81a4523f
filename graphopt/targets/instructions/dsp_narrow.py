"""Routines of pointwise products of few channels for cores with the DSP extension: channel by channel over many pixels.

The weights and the scaling of one channel of the result stay in registers, and pixels stream past them. There is one
routine for each depth, each distance of results and each number of pixels in a turn, made where a kernel asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.dsp import GUARD
from graphopt.targets.instructions.dsp_products import RESTORED, SAVED, SAVED_BYTES, scaled
from graphopt.targets.instructions.products import BLOCK, sums

MOST_BLOCKS = 2
"""Of weights that fit the registers beside the elements of a pixel."""
MOST_PIXELS = 8
MOST_DISTANCE = 4095
"""That a store, or an addition, has room for."""
MOST_NEAR = 255
"""By which a store can move its pointer on."""
ELEMENTS = ["r10", "r11", "r12", "lr"]
FRAME = 20
"""Bytes on the stack: the elements and their end, the result and the end of its channels, and the weights."""


@dataclass(frozen=True)
class Turn:
    """``pixels`` of so many blocks, whose results are ``step`` bytes apart; all channels may have one ``shift``."""

    blocks: int
    pixels: int
    step: int
    shift: int | None = None

    @property
    def near(self) -> bool:
        return self.step <= MOST_NEAR

    @property
    def scaling(self) -> int:
        """Numbers by which a sum is scaled: multiplier, addend, and perhaps a shift."""
        return 3 if self.shift is None else 2

    @property
    def stream(self) -> int:
        """The words of what is read of a channel."""
        return 1 + self.words + self.scaling

    @property
    def words(self) -> int:
        """Of the weights of a channel, or of a pixel."""
        return 2 * self.blocks


@cache
def narrow_routine(turn: Turn) -> Instruction:
    """The routine of a turn. Weights are a wide ``stream`` of single channels."""
    shift = "s[2]" if turn.shift is None else turn.shift
    lines = [
        f"    for (int32_t c = 0; c < channels; ++c, w += {turn.stream}) {{",
        f"        for (int32_t i = 0; i < {turn.pixels} * turns; ++i) {{",
        "            uint32_t sum = (uint32_t)w[0];",
        f"            for (int32_t k = 0; k < {turn.words}; ++k) {{",
        f"                const int32_t a = x[{turn.words} * i + k], v = w[1 + k];",
        "                sum += (uint32_t)((int16_t)a * (int16_t)v + (a >> 16) * (v >> 16));",
        "            }",
        f"            const int32_t *const s = w + {turn.words + 1};",
        f"            const int32_t scaled = ((int32_t)((int64_t)(int32_t)sum * s[0] >> 32) + s[1]) >> {shift};",
        f"            y[{turn.step} * i + c] = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);",
        "        }",
        "    }",
    ]
    portable = instruction(
        Instruction(
            f"multiply_narrow_{turn.blocks}_to_{turn.step}_of_{turn.pixels}"
            + ("" if turn.shift is None else f"_down_{turn.shift}"),
            None,
            {"x": "const int32*", "w": "const int32*", "y": "int8*", "turns": "int32", "channels": "int32"},
            "void",
            "\n".join(lines),
            lambda x, w: meant(x, w, turn),
            comment=f"""\
Sums of products of widened elements x and wide weights w, channel by channel over turns of {turn.pixels} pixels;
   each is scaled to 8 bits.""",
            depth=BLOCK,
            spans={
                "x": Span(f"{4 * turn.words * turn.pixels} * turns"),
                "w": Span(f"{4 * turn.stream} * channels"),
                "y": Span("channels", ((f"{turn.pixels} * turns", str(turn.step)),)),
            },
            counts={"1": "channels", "2": "channels * turns"},
        )
    )
    portable.on("dsp", assembly_of(turn), guard=GUARD, naked=True)
    return portable


def meant(x: Array, w: Array, turn: Turn) -> Array:
    """The results [pixels, channels] of widened elements [blocks, pixels, 2] and a wide ``stream``."""
    if turn.shift is not None:
        w = np.pad(w.reshape(-1, turn.stream), ((0, 0), (0, 1)), constant_values=turn.shift).ravel()
    return sums(x, w, 1, scaled=True, wide=True, to=np.dtype(np.int8).name)


def assembly_of(turn: Turn) -> str:
    """r0 points to elements, r2 to results; r1 has the bias, what follows r3 the weights, r7 to r9 the scaling.

    With one shift r9 has the end of the elements instead.
    """
    weights = [f"r{3 + i}" for i in range(turn.words)]
    pixels = [line for pixel in range(turn.pixels) for line in one_pixel(turn, pixel, weights)]
    far = [] if turn.near else [f"add r2, r2, #{turn.step * turn.pixels}"]
    compared = ["ldr r10, [sp, #4]", "cmp r0, r10"] if turn.shift is None else ["cmp r0, r9"]
    return "\n".join(
        [
            SAVED,
            f"sub sp, sp, #{FRAME}",
            f"mov r4, #{4 * turn.words * turn.pixels}",
            "mla r3, r3, r4, r0",
            f"ldr r4, [sp, #{SAVED_BYTES + FRAME}]",
            "add r4, r2, r4",
            "strd r0, r3, [sp]",
            "str r4, [sp, #12]",
            *([] if turn.shift is None else ["mov r9, r3"]),
            "mov r10, r1",
            "1:",
            "str r2, [sp, #8]",
            f"ldm r10!, {{r1, {weights[0]}-{weights[-1]}, r7-r{6 + turn.scaling}}}",
            "str r10, [sp, #16]",
            "2:",
            *pixels,
            *far,
            *compared,
            "bne 2b",
            "ldrd r2, r3, [sp, #8]",
            "ldr r10, [sp, #16]",
            "add r2, r2, #1",
            "ldr r0, [sp]",
            "cmp r2, r3",
            "bne 1b",
            f"add sp, sp, #{FRAME}",
            RESTORED,
        ]
    )


def one_pixel(turn: Turn, pixel: int, weights: list[str]) -> list[str]:
    elements = ELEMENTS[: turn.words]
    total = elements[0]
    starts = ["r1", *[total] * (turn.words - 1)]
    place = f"[r2], #{turn.step}" if turn.near else f"[r2, #{turn.step * pixel}]"
    return [
        f"ldm r0!, {{{', '.join(elements)}}}",
        *(f"smlad {total}, {x}, {w}, {at}" for x, w, at in zip(elements, weights, starts, strict=True)),
        *scaled(total, "r7", "r8", "r9" if turn.shift is None else turn.shift),
        f"strb {total}, {place}",
    ]
