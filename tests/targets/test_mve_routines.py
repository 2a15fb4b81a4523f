"""Routines for Helium: assembly, portable twin and meaning give the same, whatever the lengths, here and under QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from harness import program, run_c
from targets.test_routines import Case, additions, flips, int8, pooled, scalings, statements, sums_of_windows

from graphopt.ir import Array
from graphopt.ops import StoredForm
from graphopt.targets import get_target
from graphopt.targets.instructions import INSTRUCTIONS, definition, find_instruction, mve_depthwise, mve_products
from graphopt.targets.instructions.byte_codes import UNPACK_BYTES, coded_bytes
from graphopt.targets.instructions.mve import LANES as WINDOW_LANES
from graphopt.targets.instructions.mve import TOP
from graphopt.targets.instructions.mve_columns import COPY_COLUMNS
from graphopt.targets.instructions.mve_depthwise import Taps, depthwise_vectors
from graphopt.targets.instructions.mve_pooling import LARGEST_OF_WINDOW

ROUTINES = {
    (False, True): mve_products.MULTIPLY_WINDOW,
    (False, False): mve_products.SUM_WINDOW,
    (True, True): mve_products.MULTIPLY_WINDOWS,
    (True, False): mve_products.SUM_WINDOWS,
}


def spaced(rows: Array, step: int) -> Array:
    """Rows that begin a step apart, zeros between them, and nothing behind the last."""
    wide = np.zeros((len(rows), step), rows.dtype)
    wide[:, : rows.shape[1]] = rows
    return wide.ravel()[: step * (len(rows) - 1) + rows.shape[1]]


def windows_of(x: Array, step: int, depth: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, depth)[::step]


def products(rng: np.random.Generator) -> Iterator[Case]:
    """Of all parts of a block, and one to five blocks; windows overlap, or lie apart."""
    for depth in (*range(1, 18), 24, 31, 32, 33, 48, 64, 75):
        channels = int(rng.integers(1, 10))
        weight, bias = int8(rng, channels, depth), rng.integers(-9000, 9000, channels)
        for (several, scales), routine in ROUTINES.items():
            pixels, step = (2 * int(rng.integers(1, 3)), int(rng.integers(1, depth + 3))) if several else (1, 0)
            x = int8(rng, (pixels - 1) * step + depth)
            windows = windows_of(x, step, depth) if several else x[None]
            scaling = scalings(rng, channels)[:, : 3 if scales else 0]
            stream = mve_products.stream(weight, bias, scaling, WINDOW_LANES)
            y = routine.meaning(windows, stream, channels)
            steps = (step, channels + 1, pixels) if several else ()
            yield Case(routine, (x, stream, None, *steps, depth, channels), (spaced(y, channels + 1),))


def columns(rng: np.random.Generator) -> Iterator[Case]:
    for count in (1, 7, 8, 9, 17):
        for size, source_step, target_step in ((1, 1, 3), (1, 2, 4), (1, 0, 1), (5, 5, 7), (16, 20, 16), (40, 41, 43)):
            source = int8(rng, (count - 1) * source_step + size)
            rows = np.stack([source[i * source_step : i * source_step + size] for i in range(count)])
            arguments = (None, source, count, size, target_step, source_step)
            yield Case(COPY_COLUMNS["int8"], arguments, (spaced(rows, target_step),))
    yield Case(COPY_COLUMNS["int8"], (None, int8(rng, 4), 0, 4, 4, 4), (np.zeros(4, np.int8),))
    source = int8(rng, 3)
    yield Case(COPY_COLUMNS["int8"], (None, source, 3, 1, 9000, 1), (spaced(source[:, None], 9000),))


def maxima(rng: np.random.Generator) -> Iterator[Case]:
    for x, at, window, channels in pooled(rng):
        if window[-1]:
            yield Case(LARGEST_OF_WINDOW, (x, None, *window, channels), (LARGEST_OF_WINDOW.meaning(x[at]),))


TAPS = [(1, 1, 8), (3, 3, 16), (2, 3, 32), (1, 2, 8), (5, 5, 16), (1, 15, 16), (2, 9, 48), (7, 1, 16)]


def depthwise(rng: np.random.Generator) -> Iterator[Case]:
    """Windows along a row, and down the columns."""
    for rows, apart, step in TAPS:
        taps = Taps(rows, apart, step)
        for count, channels, down in ((1, 8, False), (2, 3, True), (5, 7, False)):
            pitch = (apart - 1) * step + (count - 1) * step + 8
            advance = pitch if down else step
            x = int8(rng, (rows + count - 1) * pitch)
            weight, bias = int8(rng, channels, taps.count, least=-127), rng.integers(-9000, 9000, channels)
            scaling = scalings(rng, channels)
            places = np.add.outer(np.arange(rows) * pitch, np.arange(apart) * step).ravel()
            at = np.add.outer(np.add.outer(np.arange(count) * advance, places), np.arange(channels))
            constants = np.stack([bias, scaling[:, 0], scaling[:, 1], TOP - scaling[:, 2]])
            routine = depthwise_vectors(taps)
            y = routine.meaning(x[at], weight.T, constants)
            arguments = (x, mve_depthwise.stream(weight, bias, scaling), None, pitch, advance, 9, count, channels)
            yield Case(routine, arguments, (spaced(y, 9),))


def unpacked(rng: np.random.Generator) -> Iterator[Case]:
    """Weights of four bits or one, of parts of a word of codes and of many."""
    for form, depth, channels in product(UNPACK_BYTES, (1, 3, 4, 7, 8, 16, 33), (3, 9)):
        drawn = rng.integers(-8, 8, (channels, depth))
        weight = (np.where(drawn > 0, 1, -1) if form is StoredForm.BITS else drawn).astype(np.int8)
        given = weight, rng.integers(-9000, 9000, channels), scalings(rng, channels), WINDOW_LANES
        codes, numbers = coded_bytes(*given, form, mve_products.stream)
        words = mve_products.words_of(depth, scales=True) - 4 * WINDOW_LANES
        stream = UNPACK_BYTES[form].meaning(codes, numbers, words, WINDOW_LANES)
        if form is StoredForm.NIBBLES:
            np.testing.assert_array_equal(stream, mve_products.stream(*given))
        sizes = words, WINDOW_LANES, 3 * WINDOW_LANES, len(codes)
        yield Case(UNPACK_BYTES[form], (None, codes, numbers, *sizes), (stream,))


@pytest.mark.parametrize("target", [None, "cortex-m55"], ids=lambda target: target or "portable")
def test_what_is_computed_is_what_is_meant(target: str | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn = [
        *products(rng),
        *flips(rng),
        *columns(rng),
        *additions(rng),
        *sums_of_windows(rng),
        *maxima(rng),
        *depthwise(rng),
        *unpacked(rng),
    ]
    names = list(dict.fromkeys(case.routine.name for case in drawn))
    found = [find_instruction(name, get_target(target)) if target else INSTRUCTIONS[name, None] for name in names]
    assert all(one.isa == ("mve" if target else None) for one in found)
    data = b"".join(given.tobytes() for case in drawn for given in case.arguments if isinstance(given, np.ndarray))
    raw = run_c(
        tmp_path,
        program([definition(one) for one in found], [line for case in drawn for line in statements(case)]),
        data,
        target,
    )
    at = 0
    for case in drawn:
        (want,) = case.results
        got = np.frombuffer(raw, want.dtype, want.size, at)
        at += want.nbytes
        np.testing.assert_array_equal(got, want, err_msg=f"{case.routine.name} of {case.arguments[-4:]}")
