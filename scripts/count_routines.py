"""The instructions and cycles of routines in assembly, as QEMU counts them over drawn numbers: for ``fit_costs.py``."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphopt.runtime.build import build_counter, build_image, require, symbols
from graphopt.runtime.execute import run_emulator
from graphopt.targets import Target
from graphopt.targets.instructions import Instruction, definition
from graphopt.targets.work import terms_of

CALLS = 160
POOLING = ("sum_window_scaled", "largest_of_window")
RANGES: dict[str, tuple[int, int, int]] = {
    "rows": (1, 8, 1),
    "columns": (1, 8, 1),
    "lines": (1, 12, 1),
    "runs": (1, 5, 1),
    "pixels": (2, 16, 2),
    "count": (1, 40, 1),
    "length": (1, 60, 1),
    "size": (1, 40, 1),
    "depth": (1, 160, 1),
    "lanes": (2, 4, 2),
    "sums": (2, 12, 2),
    **dict.fromkeys(("step", "y_step", "advance", "y_advance", "gap", "distance", "skipped", "start"), (4, 4, 1)),
    "pitch": (4, 4, 1),
    **{f"{routine} {sides}": (1, 24, 1) for routine in POOLING for sides in ("rows", "columns")},
    **{f"{routine} blocks": (1, 16, 1) for routine in ("multiply_tiles", "sum_tiles")},
    "copy_columns columns": (1, 40, 1),
    "copy_columns size": (1, 41, 8),
    "copy_columns source_step": (1, 2, 1),
}
"""The least and the largest number that is drawn for an operand, and the step between; a routine may have its own."""
ANY = (1, 64, 1)
BUFFER = 1 << 19
C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}

MARK = '__attribute__((noinline, used)) void region_{}(void) {{ __asm volatile("" ::: "memory"); }}'
"""A function at whose address the counter begins or ends."""

Equations = list[tuple[dict[str, float], int, int]]
"""By the names of ``Work`` what calls do, and the instructions and cycles that they take."""


def drawn_numbers(routine: Instruction, rng: np.random.Generator) -> dict[str, int]:
    numbers = {}
    for name, dtype in routine.operands.items():
        if not dtype.endswith("*"):
            least, most, step = RANGES.get(f"{routine.name} {name}") or RANGES.get(name, ANY)
            numbers[name] = least + step * int(rng.integers((most - least) // step + 1))
    return numbers


def call_of(routine: Instruction, numbers: dict[str, int]) -> str:
    pointers = iter(range(8))
    given = [
        f"(void *)buffers[{next(pointers)}]" if d.endswith("*") else str(numbers[n])
        for n, d in routine.operands.items()
    ]
    return f"    region_start(); {routine.name}({', '.join(given)}); region_stop();"


def counted_routines(routines: Sequence[Instruction], machine: Target) -> dict[str, Equations]:
    """Of each routine some calls, without what is counted of an empty region."""
    rng = np.random.default_rng(0)
    calls = [(routine, drawn_numbers(routine, rng)) for routine in routines for _ in range(CALLS)]
    text = [
        "#include <stddef.h>",
        '#include "harness.h"',
        f"static int32_t buffers[4][{BUFFER // 4}];",
        *(MARK.format(end) for end in ("start", "stop")),
        *map(definition, routines),
        "int main(void)\n{\n    region_start(); region_stop();",
        *(call_of(*call) for call in calls),
        "    return 0;\n}\n",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "harness.c").write_text("\n".join(text))
        for empty in ("none.c", "none_weights.c"):
            (folder / empty).write_text("typedef int none;\n")
        image = build_image(folder, "none", machine.toolchain, machine.runner, ["-O1"])
        known = symbols(image, machine.toolchain)
        places = [f"{end}={known[f'region_{end}'][0]:#x}" for end in ("start", "stop")]
        plugin = ",".join([str(build_counter(folder)), *places, "thumb=1"])
        command = [require(machine.runner.emulator, machine.runner.package), "-M", machine.runner.machine]
        command += ["-plugin", plugin, "-display", "none", "-monitor", "none", "-serial", "none"]
        errors = run_emulator(
            [*command, "-semihosting-config", "enable=on,target=native", "-kernel", str(image)], folder
        )
    counts = [(int(a), int(b)) for a, b in re.findall(r"^region (\d+) (\d+)$", errors, re.MULTILINE)]
    empty, found = counts[0], dict[str, Equations]()
    for (routine, numbers), (instructions, cycles) in zip(calls, counts[1:], strict=True):
        features = {routine.name: 1.0}
        for term, code in terms_of(routine):
            features[f"{routine.name} {term}"] = float(eval(code, {"__builtins__": {}}, numbers))
        arguments = len(routine.operands)  # which the caller sets, one instruction each
        row = features, instructions - empty[0] - arguments, cycles - empty[1] - arguments
        found.setdefault(routine.name, []).append(row)
    return found
