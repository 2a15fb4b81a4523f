"""How much stack a C project takes, as the target's own compiler says, through its call graph."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from graphopt.errors import ToolFailed
from graphopt.runtime.build import run_tool, write_files
from graphopt.runtime.machine import Toolchain

NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "[^"]*?\\n(\d+) bytes \(([^)]*)\)" \}', re.MULTILINE)
LABEL = re.compile(r"^([A-Za-z_]\w*):")
PUSHED = re.compile(r"^\s*(v?)push\s*\{([^}]*)\}")
LOWERED = re.compile(r"^\s*sub\s+sp, sp, #(\d+)")
EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.MULTILINE)


def stack_bytes(files: Mapping[str, bytes], name: str, toolchain: Toolchain, cflags: Sequence[str]) -> int | None:
    """The bytes of stack that a run takes at most, beside those of functions of the C library.

    None where the compiler is not installed or cannot tell, as Clang cannot.
    """
    if shutil.which(toolchain.compiler) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="graphopt-") as temporary:
        folder = Path(temporary)
        write_files({f: files[f] for f in (f"{name}.c", f"{name}.h")}, folder)
        options = [*toolchain.flags, "-std=c99", *cflags, "-fcallgraph-info=su", "-S"]
        try:
            run_tool([toolchain.compiler, *options, f"{name}.c", "-o", f"{name}.s"], folder)
            graph, assembly = (folder / f"{name}.ci").read_text(), (folder / f"{name}.s").read_text()
            return deepest(graph, f"{name}_run", taken(assembly))
        except (ToolFailed, OSError):
            return None


def taken(assembly: str) -> dict[str, int]:
    """The bytes of stack that functions take in ARM assembly, by name: of naked ones GCC does not know any."""
    sizes: dict[str, int] = {}
    function = ""
    for line in assembly.splitlines():
        if label := LABEL.match(line):
            function = label.group(1)
        elif pushed := PUSHED.match(line):
            size = registers_in(pushed.group(2)) * (8 if pushed.group(1) else 4)
            sizes[function] = sizes.get(function, 0) + size
        elif lowered := LOWERED.match(line):
            sizes[function] = sizes.get(function, 0) + int(lowered.group(1))
    return sizes


def registers_in(listed: str) -> int:
    """How many registers are in a list of single ones and ranges."""
    ends = [[int(n) for n in re.findall(r"\d+", part)] for part in listed.split(",")]
    return sum(numbers[1] - numbers[0] + 1 if len(numbers) == 2 else 1 for numbers in ends)


def deepest(graph: str, start: str, naked: Mapping[str, int] | None = None) -> int | None:
    """The most bytes of stack on a way through a call graph as GCC writes it (``-fcallgraph-info=su``).

    Functions that take nothing by it take what ``naked`` has of them, by name; those of which neither knows anything
    count as none. None where it does not know ``start``, where a function's bytes
    are not bounded, and where one calls itself.
    """
    naked = naked or {}
    own = {t: int(size) or naked.get(t.rpartition(":")[2], 0) for t, size, _ in NODE.findall(graph)}
    bounded = all("dynamic" not in kind or "bounded" in kind for _, _, kind in NODE.findall(graph))
    calls: dict[str, set[str]] = {}
    for source, callee in EDGE.findall(graph):
        calls.setdefault(source, set()).add(callee)

    @cache
    def below(function: str) -> int:
        return own.get(function, 0) + max(map(below, calls.get(function, ())), default=0)

    try:
        return below(start) if bounded and start in own else None
    except RecursionError:
        return None
