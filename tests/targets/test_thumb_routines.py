"""Routines for ARMv6-M and ARMv7-M: assembly, portable twin and meaning give the same, here and under QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import program, run_c
from targets.test_mve_routines import spaced, windows_of
from targets.test_routines import Case, int8, scalings, statements

from graphopt.targets import get_target
from graphopt.targets.instructions import INSTRUCTIONS, definition, find_instruction, thumb_products
from graphopt.targets.instructions.armv6m_products import BY_CHANNEL
from graphopt.targets.instructions.armv7m_products import BY_ELEMENT

ORDERS = {"cortex-m0": BY_CHANNEL, "cortex-m3": BY_ELEMENT}


def products(rng: np.random.Generator, target: str) -> Iterator[Case]:
    """Of all parts of a turn, and one to five turns; windows overlap, or lie apart."""
    for depth in (*range(1, 18), 24, 33):
        channels = int(rng.integers(1, 10))
        weight, bias = int8(rng, channels, depth), rng.integers(-9000, 9000, channels)
        for (one, scales), routine in ORDERS[target].items():
            pixels, step = (1, 0) if one else (2 * int(rng.integers(1, 3)), int(rng.integers(1, depth + 3)))
            x = int8(rng, (pixels - 1) * step + depth)
            windows = x[None] if one else windows_of(x, step, depth)
            scaling = scalings(rng, channels)[:, : 3 if scales else 0]
            order = target == "cortex-m3"
            stream = thumb_products.stream(weight, bias, scaling, thumb_products.LANES, by_element=order)
            y = routine.meaning(windows, stream, channels)
            plain = bias + windows.astype(np.int64) @ weight.T.astype(np.int64)
            assert scales or np.array_equal(y, plain)
            steps = () if one else (step, channels + 1, pixels)
            yield Case(routine, (x, stream, None, *steps, depth, channels), (spaced(y, channels + 1),))


@pytest.mark.parametrize("target", ORDERS)
@pytest.mark.parametrize("portable", [True, False], ids=["portable", "assembly"])
def test_what_is_computed_is_what_is_meant(target: str, portable: bool, tmp_path: Path) -> None:
    drawn = list(products(np.random.default_rng(0), target))
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
