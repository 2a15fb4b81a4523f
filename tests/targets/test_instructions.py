"""Instructions: body, portable twin and meaning give the same, over drawn and extreme operands, here and under QEMU."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from harness import program, read, run_c

from graphopt.errors import InvalidGraph
from graphopt.ir import Array
from graphopt.targets import get_target
from graphopt.targets.c_types import C_TYPES
from graphopt.targets.instructions import INSTRUCTIONS, Instruction, base, definition, find_instruction, instruction
from graphopt.targets.instructions.base import used
from graphopt.targets.kernels import KERNEL_RULES  # noqa: F401  (their import enters the instructions)
from graphopt.targets.target import builtin_targets

CASES = 400
DRAWN = 200_000
NAMES = [name for (name, isa), one in INSTRUCTIONS.items() if isa is None and not one.spans]
"""Those of numbers alone; test_routines.py has those with pointers."""
BOARDS_HELD = ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7"]
"""Emulated targets: between them they have every instruction set of which there is a body and an emulator."""


def drawn(dtype: str, rng: np.random.Generator) -> Array:
    """Operands of all magnitudes, and the extreme ones."""
    bits = 8 * np.dtype(dtype).itemsize
    if dtype.startswith("float"):
        extremes = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0], dtype)
        few = rng.integers(-2047, 2048, DRAWN) * 2.0 ** rng.integers(-12, 12, DRAWN)
        return np.where(rng.random(DRAWN) < 0.1, rng.choice(extremes, DRAWN), few.astype(dtype))
    limits = np.iinfo("uint8" if dtype == "bool" else dtype)
    whole = rng.integers(limits.min, limits.max, DRAWN, limits.dtype, endpoint=True)
    sized = whole >> rng.integers(0, bits, DRAWN).astype(limits.dtype)
    if dtype == "int64":  # squares, and the numbers below them
        squares = rng.integers(1, 1 << 26, DRAWN) ** 2 - rng.integers(0, 2, DRAWN)
        sized = np.where(rng.random(DRAWN) < 0.3, squares, sized)
    extremes = np.array([limits.min, limits.max, 0, 1], limits.dtype)
    return np.where(rng.random(DRAWN) < 0.1, rng.choice(extremes, DRAWN), sized)


@cache
def operands(name: str) -> dict[str, Array]:
    """Operands of an instruction for which it is defined."""
    rng = np.random.default_rng(len(name))
    one = INSTRUCTIONS[name, None]
    found = [drawn(dtype, rng) for dtype in one.operands.values()]
    with np.errstate(all="ignore"):
        chosen = np.flatnonzero(one.defined(*found))[:CASES]
    assert len(chosen) >= CASES // 2, f"few of the drawn operands of {name} are any that it is defined for"
    return {key: data[chosen] for key, data in zip(one.operands, found, strict=True)}


def meant(name: str) -> Array:
    one = INSTRUCTIONS[name, None]
    with np.errstate(all="ignore"):
        return np.asarray(one.meaning(*operands(name).values())).astype("uint8" if one.result == "bool" else one.result)


def calls(instructions: list[Instruction]) -> list[str]:
    """Statements that read the operands of each instruction from a file, and write its results to another."""
    parts = []
    for one in instructions:
        count = len(next(iter(operands(one.name).values())))
        parts.append("{")
        for name, dtype in one.operands.items():
            parts += read(name, C_TYPES[dtype], count)
        call = ", ".join(f"{name}[i]" for name in one.operands)
        parts += [f"static {C_TYPES[one.result]} result[{count}];"]
        parts += [f"for (int i = 0; i < {count}; ++i) result[i] = {one.name}({call});"]
        parts += ["if (harness_write(out, result, sizeof result)) return 1;", "}"]
    return parts


def results(folder: Path, target: str | None) -> dict[str, Array]:
    """What every instruction gives, as a target has it or (None) as portable C natively."""
    machine = get_target(target or "cortex-m4")
    chosen = [find_instruction(name, machine) if target else INSTRUCTIONS[name, None] for name in NAMES]
    data = [column for name in NAMES for column in operands(name).values()]
    text = program([definition(one) for one in chosen], calls(chosen))
    raw, found, at = run_c(folder, text, b"".join(column.tobytes() for column in data), target), {}, 0
    for name in NAMES:
        want = meant(name)
        found[name] = np.frombuffer(raw, want.dtype, len(want), at)
        at += want.nbytes
    return found


@pytest.fixture(scope="module", params=[None, *BOARDS_HELD], ids=lambda target: target or "portable")
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    return results(tmp_path_factory.mktemp("instructions"), request.param)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_computed_is_what_is_meant(name: str, given: dict[str, Array]) -> None:
    np.testing.assert_array_equal(given[name], meant(name))


def test_every_instruction_set_is_held() -> None:
    """By a target that it is found on: a body that no target takes would never be compiled."""
    names = {name for name, _ in INSTRUCTIONS}
    boards = [*BOARDS_HELD, "cortex-m55"]  # whose instructions are all routines
    held = {(name, find_instruction(name, get_target(t)).isa) for t in boards for name in names}
    known = {isa for target in builtin_targets().values() for isa in target.sets}
    assert set(INSTRUCTIONS) <= {*held, *((name, None) for name in names)}
    assert {isa for _, isa in INSTRUCTIONS if isa} <= known


def test_an_instruction_without_a_portable_twin_is_refused() -> None:
    alone = Instruction("made_up", "dsp", {"a": "int32"}, "int32", "    return a;", lambda a: a)
    with pytest.raises(InvalidGraph, match="made_up for dsp has no portable twin"):
        instruction(alone)


def test_their_order_depends_on_the_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on what was compiled before: the same graph gives the same C, where what is called comes first."""
    target = get_target("cortex-m4")
    text = "".join(f"{name}();" for name, _ in INSTRUCTIONS)
    order = [one.name for one in used(text, target)]
    monkeypatch.setattr(base, "INSTRUCTIONS", dict(reversed(INSTRUCTIONS.items())))
    assert [one.name for one in used(text, target)] == order
    for place, name in enumerate(order):
        bodies = find_instruction(name, target).body + INSTRUCTIONS[name, None].body
        assert not any(f" {later}(" in bodies for later in order[place + 1 :])
