"""Routines: assembly, portable twin and meaning give the same, whatever the lengths, here and under QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path

import numpy as np
import pytest
from harness import program, read, run_c

from graphopt.ir import Array
from graphopt.ops import StoredForm
from graphopt.targets import get_target
from graphopt.targets.c_types import C_TYPES
from graphopt.targets.instructions import (
    INSTRUCTIONS,
    Instruction,
    definition,
    dsp_few,
    find_instruction,
    portable,
    products,
    winograd,
)
from graphopt.targets.instructions.addition import ADD_SCALED
from graphopt.targets.instructions.dsp_codes import UNPACK, coded
from graphopt.targets.instructions.dsp_depthwise import Tile, depthwise_routine, taps_routine
from graphopt.targets.instructions.dsp_narrow import Turn, narrow_routine
from graphopt.targets.instructions.mve import TOP
from graphopt.targets.instructions.mve_pooling import SUM_WINDOW_SCALED, UP
from graphopt.targets.instructions.narrow_rows import MOST_WIDTH, widen_narrow
from graphopt.targets.instructions.pixels import FLIP_RUNS, FLIP_SIGNS, LOOK_UP
from graphopt.targets.instructions.widening import TABLE, WIDEN_ROWS, WIDEN_TWO

Argument = Array | int | None


@dataclass(frozen=True)
class Case:
    """A call: arrays are read, numbers are passed on, and for None, or what is returned, there are ``results``."""

    routine: Instruction
    arguments: tuple[Argument, ...]
    results: tuple[Array, ...]


def int8(rng: np.random.Generator, *shape: int, least: int = -128) -> Array:
    """Bytes of which many are extreme."""
    extreme = rng.choice(np.array([least, 127, 0, -1], np.int8), shape)
    return np.where(rng.random(shape) < 0.3, extreme, rng.integers(least, 128, shape)).astype(np.int8)


def scalings(rng: np.random.Generator, channels: int) -> Array:
    """Multipliers, addends and shifts that bring sums of some thousands to 8 bits."""
    shift = rng.integers(9, 16, channels)
    zero_point = rng.integers(-20, 20, channels)
    addend = (1 << (shift - 1)) + (zero_point << shift)
    return np.stack([rng.integers(1 << 30, (1 << 31) - 1, channels), addend, shift], axis=1)


def one_scaling(rng: np.random.Generator, shift: int | None) -> Array:
    """The scaling of one channel, perhaps by a shift that is given."""
    if shift is None:
        return np.asarray(scalings(rng, 1)[0])
    return np.array([rng.integers(1 << 28, 1 << 31), (1 << (shift - 1)) + (int(rng.integers(-20, 20)) << shift), shift])


def copies(rng: np.random.Generator) -> Iterator[Case]:
    for pair in ((-3, 7), (32767, -32768)):
        x = np.array(pair, np.int16)
        yield Case(portable.PAIR_AT, (x,), (np.asarray([portable.PAIR_AT.meaning(x)], np.int32),))
    table = np.sort(rng.integers(-(1 << 15), 1 << 15, 513)).astype(np.int16)
    for at in (-(1 << 17), -(1 << 15), -1, 0, 77, (1 << 15) - 1, 1 << 17):
        found = portable.INTERPOLATE.meaning(table, np.array([at]))
        yield Case(portable.INTERPOLATE, (table, at), (found.astype(np.int32),))
    for width, lines, pitch in ((1, 1, 4), (3, 4, 5), (5, 2, 5)):
        rows = np.zeros((lines, pitch), np.int16)
        rows[:, :width] = -7
        yield Case(
            portable.FILL_ROWS["int16"], (None, -7, width, lines, pitch), (rows.ravel()[: (lines - 1) * pitch + width],)
        )
    for count in (1, 6, 8, 21):
        source = rng.integers(-255, 256, count).astype(np.int16)
        yield Case(portable.MOVE_ROWS["int16"], (None, source, count), (source,))
    for words in (1, 2, 5, 8):
        first, second = int8(rng, 4 * words), int8(rng, 4 * words)
        for form in (products.PACKED, products.WIDE):
            yield Case(form.elements[1], (None, first, words), (form.of(first).ravel(),))
            both = form.elements[2].meaning(first, second)
            yield Case(form.elements[2], (None, first, second, words), (both.ravel(),))
    for blocks, lines, skipped, distance in ((1, 1, 0, 2), (2, 3, 4, 2), (5, 2, 0, 10), (6, 3, 8, 4)):
        step = 2 * blocks + skipped
        source = rng.integers(-(1 << 31), 1 << 31, (lines - 1) * step + 2 * blocks + distance).astype(np.int32)
        two = [
            np.concatenate([source[at + i * step :][: 2 * blocks] for i in range(lines)]).reshape(-1, 2)
            for at in (0, distance)
        ]
        pair = products.GATHER_PAIR.meaning(*two)
        yield Case(products.GATHER_PAIR, (None, source, distance, blocks, lines, skipped), (pair.ravel(),))
    for length, count, step in ((1, 1, 0), (3, 3, 10), (4, 2, 4), (7, 3, 9), (12, 5, 13), (6, 2, 20)):
        source = int8(rng, step * (count - 1) + length)
        runs = np.concatenate([source[i * step : i * step + length] for i in range(count)])
        yield Case(portable.COPY_RUNS, (None, source, length, count, step), (runs,))
        yield Case(FLIP_RUNS, (None, source.view(np.uint8) ^ 128, length, count, step), (runs,))
    for step, width, lines, gap in ((1, 1, 1, 0), (3, 4, 2, 2), (2, 5, 3, 1), (4, 11, 2, 3)):
        table, bytes_ = int8(rng, 256), rng.integers(0, 256, step * (width * lines - 1) + 1).astype(np.uint8)
        rows = np.zeros((lines, width + gap), np.int16)
        rows[:, :width] = table[bytes_[::step]].reshape(lines, width)
        yield Case(WIDEN_ROWS[TABLE], (None, bytes_, step, width, lines, gap, table), (rows.ravel(),))
        for dtype in WIDEN_TWO:
            source = int8(rng, step * (width * lines - 1) + 2).view(dtype)
            wide = np.zeros((2, lines, width + gap), np.int16)
            for i in range(2):
                wide[i, :, :width] = source[i::step][: width * lines].reshape(lines, width)
            numbers, (even, odd) = (step, width, lines, gap), wide.reshape(2, -1)
            yield Case(WIDEN_ROWS[dtype], (None, source[:-1], *numbers), (even,))
            yield Case(WIDEN_TWO[dtype], (None, None, source, *numbers), (even, odd))


def narrow_rows(rng: np.random.Generator) -> Iterator[Case]:
    """Rows of each width that has a routine of its own."""
    for width, step, lines, gap in product(range(1, MOST_WIDTH + 1), (1, 5), (1, 3), (0, 3)):
        source = int8(rng, step * (width * lines - 1) + 1)
        rows = np.zeros((lines, width + gap), np.int16)
        rows[:, :width] = source[::step].reshape(lines, width)
        yield Case(widen_narrow(width), (None, source, step, width, lines, gap), (rows.ravel(),))


def flips(rng: np.random.Generator) -> Iterator[Case]:
    """Of any number of bytes: words, those that are left, and no whole word."""
    for count in (1, 3, 15, 16, 17, 64, 93):
        source = rng.integers(0, 256, count).astype(np.uint8)
        yield Case(FLIP_SIGNS, (None, source, count), ((source.astype(np.int16) - 128).astype(np.int8),))


def lookups(rng: np.random.Generator) -> Iterator[Case]:
    """Of all bytes, and of numbers of pixels that fill no turn."""
    for tables, routine in LOOK_UP.items():
        for pixels in (1, 3, 4, 9, 256):
            table = rng.integers(-128, 128, 256 * tables).astype(np.int8)
            source = rng.permutation(np.tile(np.arange(256, dtype=np.uint8), tables))[: tables * pixels]
            yield Case(routine, (None, source, table, pixels), (routine.meaning(source, table).ravel(),))


def additions(rng: np.random.Generator) -> Iterator[Case]:
    for count in (1, 3, 4, 5, 64):
        a, b, numbers = int8(rng, count), int8(rng, count), np.array([3745, -50131, 123456, 15], np.int32)
        yield Case(ADD_SCALED, (a, b, None, numbers, count), (ADD_SCALED.meaning(a, b, numbers),))


def pooled(rng: np.random.Generator) -> Iterator[tuple[Array, Array, tuple[int, int, int, int], int]]:
    """Elements, which of them are in a window, its pitch, step, rows and columns, and its channels."""
    for rows, columns, channels in ((1, 1, 1), (2, 3, 8), (3, 3, 17), (25, 5, 33), (1, 256, 3), (1, 0, 20)):
        step = channels + 2
        pitch = step * max(columns, 1)
        x = int8(rng, (rows - 1) * pitch + max(columns - 1, 0) * step + channels)
        at = np.add.outer(np.add.outer(np.arange(rows) * pitch, np.arange(columns) * step).ravel(), np.arange(channels))
        yield x, at, (pitch, step, rows, columns), channels


def sums_of_windows(rng: np.random.Generator) -> Iterator[Case]:
    for x, at, window, channels in pooled(rng):
        start, (multiplier, addend, shift) = int(rng.integers(-999, 999)), scalings(rng, 1)[0]
        numbers = np.array([multiplier, addend, TOP - shift - UP], np.int32)
        found = SUM_WINDOW_SCALED.meaning(x[at], start, numbers)
        yield Case(SUM_WINDOW_SCALED, (x, None, numbers, *window, start, channels), (found,))


def sums(rng: np.random.Generator) -> Iterator[Case]:
    """Of one to eighteen blocks, so that loops over eight pairs are entered everywhere."""
    for blocks, scaled, form in product((*range(1, 19), 33), (True, False), (products.PACKED, products.WIDE)):
        channels, depth = int(rng.integers(1, 9)), 4 * blocks
        weight, bias = int8(rng, channels, depth, least=form.least_weight), rng.integers(-9000, 9000, channels)
        scaling = scalings(rng, channels)
        scaling = scaling * [1, 1 << form.bits, 1] + [0, 0, form.bits] if scaled else scaling[:, :0]
        for pixels in (1, 2):
            routine = form.routines[pixels == 1, scaled]
            x = form.of(int8(rng, pixels, depth)).transpose(1, 0, 2)
            stream = form.stream(weight, bias, scaling.astype(np.int32), routine.lanes)
            found = routine.meaning(x, stream)
            groups = found.shape[1] // routine.lanes
            yield Case(routine, (x, stream, *(None,) * pixels, blocks, groups), tuple(found))
            if pixels == 1 and form.bare:
                bare, elements = form.bare[scaled], int8(rng, 1, depth)
                (row,) = bare.meaning(elements, stream)
                np.testing.assert_array_equal(row, routine.meaning(form.of(elements).transpose(1, 0, 2), stream)[0])
                yield Case(bare, (elements, stream, None, blocks, groups), (row,))


NARROW = (1, 1, 1, 3, 1), (1, 4, 9, 2, 7), (2, 3, 5, 1, 5), (2, 4, 819, 2, 3), (2, 8, 255, 2, 3), (1, 2, 256, 2, 9)
"""Blocks, pixels and the step of a turn, turns and channels."""


def narrow(rng: np.random.Generator) -> Iterator[Case]:
    """Of few and of many channels, whose results are beside others or not."""
    for (blocks, pixels, step, turns, channels), shift in product(NARROW, (None, 8)):
        weight, bias = int8(rng, channels, 4 * blocks), rng.integers(-9000, 9000, channels)
        turn = Turn(blocks, pixels, step, shift)
        routine = narrow_routine(turn)
        x = products.widened(int8(rng, turns * pixels, 4 * blocks))
        scaling = np.stack([one_scaling(rng, shift) for _ in range(channels)])[:, : turn.scaling]
        stream = products.WIDE.stream(weight, bias, scaling.astype(np.int32), 1)
        y = np.zeros((len(x), step), np.int8)
        y[:, :channels] = routine.meaning(x.transpose(1, 0, 2), stream)
        yield Case(routine, (x, stream, None, turns, channels), (y.ravel()[: y.size - step + channels],))


def unpacked(rng: np.random.Generator) -> Iterator[Case]:
    for form, blocks, lanes in product(UNPACK, (1, 2, 5, 8), (2, 4)):
        channels, scaling = 3 * lanes - 1, scalings(rng, 3 * lanes - 1)
        drawn = rng.integers(-7, 8, (channels, 4 * blocks - 1))
        weight = np.where(drawn > 0, 1, -1) if form is StoredForm.BITS else drawn
        codes, numbers = coded(weight, rng.integers(-9000, 9000, channels), scaling, lanes, form)
        stream = UNPACK[form].meaning(codes, numbers, blocks * lanes, lanes)
        counts = blocks * lanes, lanes, 3 * lanes, len(codes)
        yield Case(UNPACK[form], (None, codes, numbers, *counts), (stream,))


def scaled_to_int16(rng: np.random.Generator) -> Iterator[Case]:
    for blocks in (1, 2, 5):
        weight, bias = int8(rng, 5, 4 * blocks, least=-127), rng.integers(-9000, 9000, 5)
        scaling = (scalings(rng, 5) * [1, 256, 1] + [0, 0, 1]).astype(np.int32)
        x = products.expanded(int8(rng, 1, 4 * blocks)).transpose(1, 0, 2)
        stream = products.stream(weight, bias, scaling, products.SCALE_ROW.lanes)
        found = products.SCALE_ROW.meaning(x, stream)
        yield Case(products.SCALE_ROW, (x, stream, None, blocks, 2), tuple(found))


def tiles(rng: np.random.Generator) -> Iterator[Case]:
    """Of one to all blocks and of more, the second row of which gives way to the first or not."""
    for blocks, turn in product((1, 2, 4, 9, 16, 17, 24, 25), range(2)):
        pitch, step = 28 * blocks + 8, 4 * blocks + 1
        x = int8(rng, 3 * pitch + 5 * step + 4 * blocks)
        at = np.add.outer(np.add.outer(np.arange(4) * pitch, np.arange(6) * step), np.arange(4 * blocks))
        spread = winograd.SPREAD.meaning(x[at])
        columns, sums_ = (np.zeros(count, np.int8) for count in (winograd.COLUMN_BYTES, winograd.SUM_BYTES))
        yield Case(winograd.SPREAD, (None, x, columns, blocks, pitch, step), (spread.ravel(),))
        channels = int(rng.integers(1, 6))
        weight, bias = int8(rng, channels, 4 * blocks, 3, 3), rng.integers(-9000, 9000, channels)
        scaling = scalings(rng, channels) * [1, 4, 1] + [0, 0, 2]
        for scaled, deep in product((True, False), (blocks > winograd.MOST_BLOCKS, True)):
            routine = winograd.ROUTINES[scaled, deep]
            stream = winograd.stream(weight, bias, (scaling if scaled else scaling[:, :0]).astype(np.int32))
            found = routine.meaning(spread, stream)
            y = np.zeros((2, 4, len(found) + 1), found.dtype)
            y[:, :, :-1] = found.transpose(1, 2, 0)
            last = y[:1] if turn else y
            numbers = blocks, len(found) // 2, 0 if turn else y[0].size, y.shape[2]
            yield Case(routine, (spread.ravel(), stream, None, sums_, *numbers), (last.ravel()[:-1],))


def few(rng: np.random.Generator) -> Iterator[Case]:
    """Of an even and of an odd number of elements, and of rows that fill no turn; some results saturate."""
    for elements, rows, shift in ((1, 4, 8), (2, 3, 9), (5, 9, 8), (8, 8, 1)):
        weight, bias = int8(rng, rows, elements).astype(np.int64) << 4, rng.integers(-9000, 9000, rows)
        scaling = np.stack([one_scaling(rng, shift)[:2] for _ in range(rows)])
        words = dsp_few.words_of(elements)
        x = np.zeros(2 * words, np.int8)
        x[:elements] = int8(rng, elements)
        routine, w = dsp_few.few_routine(words, shift), dsp_few.stream(weight, bias, scaling)
        found = routine.meaning(x, w)
        acc = bias + weight @ x[:elements].astype(np.int64)
        plain = ((acc * scaling[:, 0] >> 32) + scaling[:, 1]) >> shift
        np.testing.assert_array_equal(found[:rows], np.clip(plain, -(1 << 15), (1 << 15) - 1))
        yield Case(routine, (x, w, None, len(found) // dsp_few.TURN), (found,))


TILES = [
    *(Tile(3, 3, stride, pixels, alone=True) for stride in (1, 2) for pixels in (1, 3, 5)),
    Tile(10, 4, 2, 5, alone=True),
    *(Tile(3, 3, stride, pixels) for stride in (1, 2) for pixels in range(1, 6)),
    *(Tile(rows, columns, 1, 4) for rows, columns in ((1, 1), (1, 2), (1, 4), (1, 15), (2, 7), (5, 5))),
    *(Tile(rows, columns, 2, 4) for rows, columns in ((1, 3), (5, 5), (2, 6))),
    *(Tile(3, 3, stride, pixels, shift=shift) for stride, pixels, shift in ((1, 4, 8), (2, 3, 12), (1, 1, 1))),
]


def depthwise(rng: np.random.Generator) -> Iterator[Case]:
    """Tiles one below another, and their pixels three bytes apart."""
    for tile in TILES:
        count, step = 3, 3
        pitch = 2 * (tile.start(tile.pixels - 1)[0] + tile.words)
        rows = rng.integers(-255, 256, (tile.rows + count - 1, pitch)).astype(np.int16)
        weight = int8(rng, tile.rows, tile.columns)
        bias, scaling = int(rng.integers(-9000, 9000)), one_scaling(rng, tile.shift)
        up = 0 if tile.shift is None else int(rng.integers(9))
        packing = taps_routine(tile)
        packed = packing.meaning(weight, bias, up).astype(np.int32)
        if tile.pixels in (1, 4):
            yield Case(packing, (None, weight, np.array([bias], np.int32), up), (packed,))
        words = np.concatenate([packed, scaling[: tile.scaling]]).astype(np.int32)
        routine = depthwise_routine(tile)
        y = np.zeros((count, tile.pixels, step), np.int8)
        for i in range(count):
            for p in range(tile.pixels):
                window = rows[i : i + tile.rows, p * tile.stride : p * tile.stride + tile.columns]
                shifted = weight.astype(np.int64).ravel() << up
                y[i, p, 0] = routine.meaning(window.reshape(1, -1), shifted, bias, scaling)[0]
        last = y.ravel()[: y.size - step + 1]
        yield Case(routine, (rows, words, None, step, pitch, pitch, tile.pixels * step, count), (last,))


def depthwise_over_channels(rng: np.random.Generator) -> Iterator[Case]:
    """One tile, of which each time gives another channel, side by side with the others."""
    for tile in TILES:
        channels, step = 3, 5
        pitch = 2 * (tile.start(tile.pixels - 1)[0] + tile.words)
        rows = rng.integers(-255, 256, (tile.rows, pitch)).astype(np.int16)
        weights, biases = int8(rng, channels, tile.rows, tile.columns), rng.integers(-9000, 9000, channels)
        numbers = [one_scaling(rng, tile.shift) for _ in range(channels)]
        packed = np.column_stack([biases, tile.packed(weights.astype(np.int64))])
        words = np.hstack([packed, np.stack(numbers)[:, : tile.scaling]]).astype(np.int32)
        routine = depthwise_routine(replace(tile, over_channels=True))
        y = np.zeros((tile.pixels, step), np.int8)
        for p in range(tile.pixels):
            window = rows[:, p * tile.stride : p * tile.stride + tile.columns].reshape(1, -1)
            for c in range(channels):
                y[p, c] = routine.meaning(window, weights[c].astype(np.int64).ravel(), biases[c], numbers[c])[0]
        last = y.ravel()[: y.size - step + channels]
        yield Case(routine, (rows, words, None, step, pitch, 0, 1, channels), (last,))


def cases() -> list[Case]:
    rng = np.random.default_rng(0)
    return [
        *copies(rng),
        *narrow_rows(rng),
        *flips(rng),
        *lookups(rng),
        *additions(rng),
        *sums(rng),
        *narrow(rng),
        *unpacked(rng),
        *scaled_to_int16(rng),
        *few(rng),
        *depthwise(rng),
        *depthwise_over_channels(rng),
        *tiles(rng),
    ]


def statements(case: Case) -> list[str]:
    lines, names, results = ["{"], [], iter(case.results)
    for name, given in zip(case.routine.operands, case.arguments, strict=True):
        if isinstance(given, int):
            names.append(str(given))
            continue
        names.append(name)
        if given is None:
            result = next(results)
            lines += [f"static {C_TYPES[str(result.dtype)]} {name}[{result.size}] __attribute__((aligned(8)));"]
        else:
            lines += read(name, C_TYPES[str(given.dtype)], given.size)
    written = [n for n, given in zip(case.routine.operands, case.arguments, strict=True) if given is None]
    call = f"{case.routine.name}({', '.join(names)});"
    if case.routine.result != "void":
        written, call = ["result"], f"{C_TYPES[case.routine.result]} result[1]; result[0] = {call}"
    return [*lines, call, *(f"if (harness_write(out, {name}, sizeof {name})) return 1;" for name in written), "}"]


@pytest.mark.parametrize("target", [None, "cortex-m4", "cortex-m33"], ids=lambda target: target or "portable")
def test_what_is_computed_is_what_is_meant(target: str | None, tmp_path: Path) -> None:
    drawn = cases()
    names = list(dict.fromkeys(case.routine.name for case in drawn))
    found = [find_instruction(name, get_target(target)) if target else INSTRUCTIONS[name, None] for name in names]
    data = b"".join(given.tobytes() for case in drawn for given in case.arguments if isinstance(given, np.ndarray))
    raw = run_c(
        tmp_path,
        program([definition(one) for one in found], list(chain.from_iterable(map(statements, drawn)))),
        data,
        target,
    )
    at = 0
    for case in drawn:
        for i, want in enumerate(case.results):
            got = np.frombuffer(raw, want.dtype, want.size, at)
            at += want.nbytes
            np.testing.assert_array_equal(
                got, want, err_msg=f"{case.routine.name}, result {i} of {case.arguments[-4:]}"
            )


def test_elements_and_weights_are_packed_without_loss() -> None:
    """Of all pairs of bytes: what is expanded has 16 bits, and the sum of the products is 256 times the right one."""
    x = np.stack(np.meshgrid(*[np.arange(-128, 128)] * 2), -1).reshape(-1, 2).astype(np.int8)
    elements = products.halves(products.expanded(np.tile(x, 2)))[:, 0, :, 0]
    for w in ((-127, -127), (127, -127), (-127, 127), (127, 127), (0, -1), (-1, 0)):
        weight = np.array([[*w, 0, 0]], np.int8)
        pairs = products.halves(products.packed_weights(weight))[0, 0]
        low = (pairs + 128 & 255) - 128
        found = elements[:, 0] * pairs[0] + elements[:, 1] * low[0] + products.packed_bias(weight, np.zeros(1))[0]
        np.testing.assert_array_equal(found, 256 * (x.astype(np.int64) @ np.array(w)))
