"""C programs of tests that read a file and write another: run natively, or on an emulated board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graphopt.runtime.build import BOARDS, build_image, require, run_tool
from graphopt.targets import get_target


def run_c(folder: Path, text: str, data: bytes, target: str | None) -> bytes:
    """What the body of ``main`` writes to ``out``, of what it reads from ``in``; natively if there is no target."""
    (folder / "harness.c").write_text(text)
    (folder / "inputs.bin").write_bytes(data)
    if target is None:
        options = ["-std=gnu99", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{BOARDS}"]
        run_tool(["gcc", *options, "harness.c", str(BOARDS / "posix.c"), "-lm", "-o", "program"], folder)
        run_tool([str(folder / "program")], folder)
    else:
        machine = get_target(target)
        for empty in ("none.c", "none_weights.c"):
            (folder / empty).write_text("typedef int none;\n")
        image = build_image(folder, "none", machine.toolchain, machine.runner, ["-O1", "-ffp-contract=off", "-Wall"])
        command = [require(machine.runner.emulator, machine.runner.package), "-M", machine.runner.machine]
        command += ["-display", "none", "-monitor", "none", "-serial", "none"]
        run_tool([*command, "-semihosting-config", "enable=on,target=native", "-kernel", str(image)], folder)
    return (folder / "outputs.bin").read_bytes()


def program(functions: Sequence[str], body: Sequence[str]) -> str:
    """A program of functions and the statements of ``main``, which returns 1 where it cannot read or write."""
    opened = 'const int in = harness_open("inputs.bin", 0), out = harness_open("outputs.bin", 1);'
    head = ["#include <math.h>", "#include <string.h>", '#include "harness.h"', *functions, "int main(void)", "{"]
    return "\n".join([*head, f"    {opened}", *(f"    {line}" for line in body), "    return 0;", "}", ""])


def read(name: str, kind: str, count: int) -> list[str]:
    """Statements that define an array and fill it from the file."""
    return [
        f"static {kind} {name}[{count}] __attribute__((aligned(8)));",
        f"if (harness_read(in, {name}, sizeof {name})) return 1;",
    ]
