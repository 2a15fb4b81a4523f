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
            return deepest((folder / f"{name}.ci").read_text(), f"{name}_run")
        except (ToolFailed, OSError):
            return None


def deepest(graph: str, start: str) -> int | None:
    """The most bytes of stack on a way through a call graph as GCC writes it (``-fcallgraph-info=su``).

    Functions of which it knows nothing count as none. None where it does not know ``start``, where a function's bytes
    are not bounded, and where one calls itself.
    """
    own = {title: int(size) for title, size, _ in NODE.findall(graph)}
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
