"""Routines of depthwise convolution for Helium: eight channels of two pixels, over and over.

There is one for each window, made where a kernel asks for it. Two products of int8 fit a lane of 16 bits together;
their sum is widened and added to sums of 32 bits. Vectors are widened by their even and their odd lanes, so the
constants of channels stand in this order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.mve import GUARD, meant_scaled, packed_scaling, twin_scaled

LANES = 8
LEAST_WEIGHT = -127
"""Two products of -128 by itself do not fit 16 bits."""
MOST_TAPS = 64
"""Taps are written out."""
MOST_OFFSET = 127
"""Bytes from a pointer on that a load may add."""
MOST_REACH = 4095
"""Bytes that an instruction may add to a pointer."""
CONSTANTS = 4
"""Of a channel: bias, multiplier, addend and shift."""
SAVED_BYTES = 5 * 4 + 8 * 8


@dataclass(frozen=True)
class Taps:
    """A window of (rows, columns), whose columns stand ``step`` bytes apart."""

    rows: int
    columns: int
    step: int

    @property
    def count(self) -> int:
        return self.rows * self.columns

    @property
    def words(self) -> int:
        """Of what a routine reads for eight channels."""
        return LANES * self.count // 4 + LANES * CONSTANTS


def stream(weight: Array, bias: Array, scaling: Array) -> Array:
    """What a routine reads, in order, of channels by eight: weights tap by tap, biases, and scaling.

    weight int8 [channels, taps], bias [channels], scaling [channels, 3]; channels are filled up with zeros.
    """
    more = -len(weight) % LANES
    rows = np.pad(weight, ((0, more), (0, 0))).reshape(-1, LANES, weight.shape[1]).transpose(0, 2, 1)
    numbers = np.pad(np.column_stack([bias.astype(np.int32), packed_scaling(scaling)]), ((0, more), (0, 0)))
    halves = numbers.reshape(len(rows), LANES // 2, 2, CONSTANTS).transpose(0, 3, 2, 1)
    parts = [np.ascontiguousarray(part).reshape(len(rows), -1).view(np.int8) for part in (rows, halves)]
    return np.concatenate(parts, axis=1).view(np.int32).ravel()


def meant(windows: Array, weight: Array, numbers: Array) -> Array:
    """Of windows [..., taps, channels], weights [taps, channels] and the constants [4, channels]: its sums, scaled."""
    acc = (windows.astype(np.int64) * weight).sum(axis=-2) + numbers[0]
    return meant_scaled(acc, *numbers[1:].astype(np.int64))


@cache
def depthwise_vectors(taps: Taps) -> Instruction:
    """The routine of a window."""
    place = (f"{taps.rows}", "pitch"), (f"{taps.columns}", f"{taps.step}")
    portable = instruction(
        Instruction(
            f"depthwise_{taps.rows}x{taps.columns}_by_vectors" + ("" if taps.step == 16 else f"_{taps.step}"),
            None,
            {
                "x": "const int8*",
                "w": "const int32*",
                "y": "int8*",
                "pitch": "int32",
                "advance": "int32",
                "y_advance": "int32",
                "count": "int32",
                "channels": "int32",
            },
            "void",
            twin(taps),
            meant,
            comment=f"""\
Windows of {LANES} channels, in rows that are pitch apart: their products with taps are summed and scaled to 8 bits. One
   begins advance elements after the last, and its result, of so many channels, y_advance.""",
            depth=2,
            lanes=LANES,
            spans={
                "x": Span("channels", (*place, ("count", "advance"))),
                "w": Span(f"{4 * taps.words}"),
                "y": Span("channels", (("count", "y_advance"),)),
            },
            counts={"1": "(count + 1) / 2"},
        )
    )
    portable.on("mve", "\n".join(assembly_of(taps)), guard=GUARD, naked=True)
    return portable


def twin(taps: Taps) -> str:
    numbers = [f"numbers[{LANES * i}]" for i in range(CONSTANTS)]
    lines = [
        "    for (int32_t i = 0; i < count; ++i) {",
        "        for (int32_t c = 0; c < channels; ++c) {",
        f"            const int32_t *const numbers = w + {taps.words - LANES * CONSTANTS} + c % 2 * 4 + c / 2;",
        f"            int32_t sum = {numbers[0]};",
        f"            for (int32_t tap = 0; tap < {taps.count}; ++tap) {{",
        f"                const int32_t place = tap / {taps.columns} * pitch + tap % {taps.columns} * {taps.step};",
        f"                sum += x[i * advance + place + c] * ((const int8_t *)w)[{LANES} * tap + c];",
        "            }",
        *(f"            {line}" for line in twin_scaled("sum", *numbers[1:])),
        "            y[i * y_advance + c] = narrow;",
        "        }",
        "    }",
    ]
    return "\n".join(lines)


SUMS = [("q0", "q1"), ("q2", "q3")]
"""Of each pixel, those of even and of odd channels."""
PIXELS = ["r0", "r4"]
RESULTS = ["r2", "r3"]
PITCH, NEXT, ODD, Y_NEXT = "r12", "r5", "r6", "r7"


def assembly_of(taps: Taps) -> Iterator[str]:
    """r0 and r4 point to two windows, r2 and r3 to their results; of an odd last one, to the same."""
    yield from ["push {r4-r7, lr}", "vpush {d8-d15}", f"mov {PITCH}, r3"]
    yield from [f"ldrd r6, r7, [sp, #{SAVED_BYTES}]", f"ldrd lr, r4, [sp, #{SAVED_BYTES + 8}]", "vctp.16 r4"]
    yield from ["add r4, r0, r6", "add r3, r2, r7", f"lsl {Y_NEXT}, r7, #1"]
    yield from [f"mov r5, #{taps.rows - 1}", f"mul r5, r5, {PITCH}", f"rsb {NEXT}, r5, r6, lsl #1"]
    yield from [f"and {ODD}, lr, #1", "lsr lr, lr, #1", "wls lr, lr, 2f", "1:"]
    loads = [Loads(taps, pointer) for pointer in PIXELS]
    for first in range(0, taps.count, 2):
        places = range(first, min(first + 2, taps.count))
        yield from (f"vldrb.s16 {w}, [r1], #{LANES}" for _, w in zip(places, ("q4", "q5"), strict=False))
        for load, sums in zip(loads, SUMS, strict=True):
            yield from products(load, places, sums)
    for load in loads:
        yield from load.move_to(taps.rows - 1, 0)
    for operation in ("vadd.i32", "vmulh.s32", "vadd.i32", "vqshl.s32"):
        yield from ["vldrw.u32 q4, [r1], #16", "vldrw.u32 q5, [r1], #16"]
        yield from (
            f"{operation} {q}, {q}, {number}" for pair in SUMS for q, number in zip(pair, ("q4", "q5"), strict=True)
        )
    for even, odd in SUMS:
        yield from [f"vshr.u32 {odd}, {odd}, #8", f"vsri.32 {odd}, {even}, #24"]
    yield from ["vpstt", *(f"vstrbt.16 {odd}, [{y}]" for (_, odd), y in zip(SUMS, RESULTS, strict=True))]
    yield f"sub r1, r1, #{4 * taps.words}"
    yield from (f"add {pointer}, {pointer}, {NEXT}" for pointer in PIXELS)
    yield from (f"add {y}, {y}, {Y_NEXT}" for y in RESULTS)
    yield from ["le lr, 1b", "2:", f"cbz {ODD}, 3f", f"mov {ODD}, #0", "mov r4, r0", "mov r3, r2", "mov lr, #1", "b 1b"]
    yield from ["3:", "vpop {d8-d15}", "pop {r4-r7, pc}"]


def products(load: Loads, places: range, sums: tuple[str, str]) -> Iterator[str]:
    """One or two taps of a pixel: products of 16 bits, added together, then widened and added to its sums."""
    for place, q, w in zip(places, ("q6", "q7"), ("q4", "q5"), strict=False):
        yield from load.tap(place, q)
        yield f"vmul.i16 {q}, {q}, {w}"
    if len(places) == 2:
        yield "vadd.i16 q6, q6, q7"
    if places[0] == 0:
        yield from [f"vmovlb.s16 {sums[0]}, q6", f"vmovlt.s16 {sums[1]}, q6"]
        return
    yield from ["vmovlb.s16 q7, q6", "vmovlt.s16 q6, q6"]
    yield from [f"vadd.i32 {sums[0]}, {sums[0]}, q7", f"vadd.i32 {sums[1]}, {sums[1]}, q6"]


class Loads:
    """The loads of a window by a pointer, which goes on where they are too far."""

    def __init__(self, taps: Taps, pointer: str) -> None:
        self.taps, self.pointer = taps, pointer
        self.row = self.offset = 0

    def tap(self, place: int, register: str) -> Iterator[str]:
        row, column = divmod(place, self.taps.columns)
        offset = column * self.taps.step
        near = self.offset <= offset <= self.offset + MOST_OFFSET
        yield from self.move_to(row, self.offset if near else offset)
        yield f"vldrb.s16 {register}, [{self.pointer}, #{offset - self.offset}]"

    def move_to(self, row: int, offset: int) -> Iterator[str]:
        if offset != self.offset:
            yield f"add {self.pointer}, {self.pointer}, #{offset - self.offset}"
        yield from [f"add {self.pointer}, {self.pointer}, {PITCH}"] * (row - self.row)
        self.row, self.offset = row, offset
