"""Routines for ARMv6-M and ARMv7-M: assembly, portable twin and meaning give the same, here and under QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import program, run_c
from targets.test_mve_routines import spaced, windows_of
from targets.test_routines import Case, additions, flips, int8, scalings, statements

from graphopt.runtime.build import run_tool
from graphopt.targets import get_target
from graphopt.targets.instructions import INSTRUCTIONS, Instruction, definition, find_instruction, thumb_products
from graphopt.targets.instructions.armv6m_products import BY_CHANNEL
from graphopt.targets.instructions.armv7m_products import BY_ELEMENT
from graphopt.targets.instructions.armv7m_rows import CROSS_WORDS, CROSSED
from graphopt.targets.instructions.pixels import FLIP_SIGNS
from graphopt.targets.instructions.thumb_depthwise import Tile, depthwise_routine
from graphopt.targets.instructions.thumb_rows import UNSIGNED_ROWS

ORDERS = {"cortex-m0": BY_CHANNEL, "cortex-m3": BY_ELEMENT}


def routines_of(target: str) -> Iterator[tuple[str, tuple[bool, bool], Instruction]]:
    for dtype, routines in ORDERS[target].items():
        for kind, routine in routines.items():
            yield dtype, kind, routine


def products(rng: np.random.Generator, target: str) -> Iterator[Case]:
    """Of all parts of a turn, and one to five turns; windows overlap, or lie apart."""
    for depth in (*range(1, 18), 24, 33):
        channels = int(rng.integers(1, 10))
        weight, bias = int8(rng, channels, depth), rng.integers(-9000, 9000, channels)
        for dtype, (one, scales), routine in routines_of(target):
            pixels, step = (1, 0) if one else (2 * int(rng.integers(1, 3)), int(rng.integers(1, depth + 3)))
            x = int8(rng, (pixels - 1) * step + depth).view(dtype)
            windows = x[None] if one else windows_of(x, step, depth)
            scaling = scalings(rng, channels)[:, : 3 if scales else 0]
            order = target == "cortex-m3"
            stream = thumb_products.stream(weight, bias, scaling, thumb_products.LANES, by_element=order)
            y = routine.meaning(windows, stream, channels)
            plain = bias + windows.astype(np.int64) @ weight.T.astype(np.int64)
            assert scales or np.array_equal(y, plain)
            steps = () if one else (step, channels + 1, pixels)
            yield Case(routine, (x, stream, None, *steps, depth, channels), (spaced(y, channels + 1),))


def crossed_rows(rng: np.random.Generator) -> Iterator[Case]:
    """Of all parts of a turn, and of numbers at the ends of their ranges."""
    for blocks in (*range(1, 10), 33):
        channels = int(rng.integers(1, 10))
        weight, bias = int8(rng, channels, 4 * blocks, least=-127), rng.integers(-9000, 9000, channels)
        x = int8(rng, 1, 4 * blocks)
        if blocks == 2:
            weight[:], x[:] = -127, -128
        yield Case(CROSS_WORDS, (None, x, blocks), (CROSS_WORDS.meaning(x[0]).ravel(),))
        for scales in (True, False):
            routine = CROSSED.routines[True, scales]
            stream = CROSSED.stream(weight, bias, scalings(rng, channels)[:, : 3 if scales else 0], routine.lanes)
            elements = CROSSED.of(x).transpose(1, 0, 2)
            (y,) = routine.meaning(elements, stream)
            plain = bias + weight.astype(np.int64) @ x[0].astype(np.int64)
            assert scales or np.array_equal(y[:channels], plain)
            yield Case(routine, (elements, stream, None, blocks, len(y) // routine.lanes), (y,))


def rows(rng: np.random.Generator) -> Iterator[Case]:
    for step, width, lines, gap in ((1, 1, 1, 0), (3, 4, 2, 2), (2, 5, 3, 1), (4, 11, 2, 3), (1, 8, 1, 1)):
        for dtype, routine in UNSIGNED_ROWS.items():
            source = int8(rng, step * (width * lines - 1) + 1).view(dtype)
            found = np.zeros((lines, width + gap), np.uint8)
            found[:, :width] = routine.meaning(source[::step]).reshape(lines, width)
            offset = 128 if dtype == "int8" else 0
            assert np.array_equal(found[:, :width].ravel(), source[::step].astype(np.int16) + offset)
            yield Case(routine, (None, source, step, width, lines, gap), (found.ravel(),))


TILES = [
    *(Tile(3, 3, stride, pixels) for stride in (1, 2, 3) for pixels in range(1, 6)),
    *(Tile(rows, columns, 1, 4) for rows, columns in ((1, 1), (1, 2), (1, 15), (2, 7), (5, 5), (7, 7))),
    *(Tile(rows, columns, 2, 5) for rows, columns in ((1, 3), (7, 7), (2, 24))),
]


def depthwise(rng: np.random.Generator) -> Iterator[Case]:
    """Tiles one below another, and their pixels three bytes apart."""
    for tile in TILES:
        count, step = 3, 3
        elements = rng.integers(0, 256, (tile.rows + count - 1, tile.reach)).astype(np.uint8)
        weight = int8(rng, tile.rows, tile.columns)
        bias, scaling = int(rng.integers(-9000, 9000)), scalings(rng, 1)[0]
        words = np.concatenate([[bias], weight.ravel(), scaling]).astype(np.int32)
        routine = depthwise_routine(tile)
        y = np.zeros((count, tile.pixels, step), np.int8)
        for i in range(count):
            for p in range(tile.pixels):
                window = elements[i : i + tile.rows, p * tile.stride : p * tile.stride + tile.columns]
                y[i, p, 0] = routine.meaning(window.reshape(1, -1), weight.ravel(), bias, scaling)[0]
        last = y.ravel()[: y.size - step + 1]
        yield Case(routine, (elements, words, None, step, tile.reach, tile.reach, tile.pixels * step, count), (last,))


@pytest.mark.parametrize("target", ORDERS)
@pytest.mark.parametrize("portable", [True, False], ids=["portable", "assembly"])
def test_what_is_computed_is_what_is_meant(target: str, portable: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn = [*products(rng, target), *flips(rng), *rows(rng), *depthwise(rng)]
    drawn += crossed_rows(rng) if target == "cortex-m3" else []
    drawn += additions(rng) if portable or target != "cortex-m0" else []
    names = list(dict.fromkeys(case.routine.name for case in drawn))
    found = [INSTRUCTIONS[name, None] if portable else find_instruction(name, get_target(target)) for name in names]
    assert all((one.isa is None) == portable for one in found)
    data = b"".join(given.tobytes() for case in drawn for given in case.arguments if isinstance(given, np.ndarray))
    lines = [line for case in drawn for line in statements(case)]
    raw = run_c(tmp_path, program([definition(one) for one in found], lines), data, None if portable else target)
    at = 0
    for case in drawn:
        (want,) = case.results
        got = np.frombuffer(raw, want.dtype, want.size, at)
        at += want.nbytes
        np.testing.assert_array_equal(got, want, err_msg=f"{case.routine.name} of {case.arguments[-4:]}")


@pytest.mark.parametrize("target", ORDERS)
def test_clang_takes_the_assembly(target: str, tmp_path: Path) -> None:
    """Its assembler and its older syntax are not those of GCC."""
    rows = [CROSS_WORDS, *CROSSED.routines.values()] if target == "cortex-m3" else []
    sums = [routine for *_, routine in routines_of(target)]
    found = [*sums, *rows, FLIP_SIGNS, *UNSIGNED_ROWS.values(), *map(depthwise_routine, TILES)]
    bodies = [definition(find_instruction(one.name, get_target(target))) for one in found]
    (tmp_path / "routines.c").write_text("\n".join(["#include <stdint.h>", *bodies]))
    options = ["--target=arm-none-eabi", f"-mcpu={target}", "-mthumb", "-ffreestanding", "-Dstatic="]
    run_tool(["clang", *options, "-O1", "-Wall", "-Werror", "-c", "routines.c", "-o", "routines.o"], tmp_path)
