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
MOST = {"rows": 8, "columns": 8, "lines": 12, "runs": 5, "pixels": 16, "count": 40, "length": 60, "size": 40}
MOST |= {"lanes": 4, "sums": 12}
"""The largest numbers that are drawn, by the operand; of others 64."""
MOST_OF = {("multiply_tiles", "blocks"): 16, ("sum_tiles", "blocks"): 16}
"""Of single routines."""
SMALLEST = EVEN = dict.fromkeys(("pixels", "lanes", "sums"), 2)
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
            most = MOST_OF.get((routine.name, name), MOST.get(name, 64))
            drawn = int(rng.integers(SMALLEST.get(name, 1), most + 1))
            numbers[name] = drawn // 2 * 2 if name in EVEN else drawn
    for name in ("step", "y_step", "advance", "y_advance", "gap", "distance", "skipped", "start", "pitch"):
        if name in numbers:
            numbers[name] = 4
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
