"""Lists of passes, of targets, and of the tools that the targets need."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphopt.passes import Pass
from graphopt.targets.target import Target


@dataclass(frozen=True)
class PassRow:
    """A pass: what it does, its options with their defaults as Python writes them, and its contract."""

    name: str
    what: str
    options: Mapping[str, str]
    contract: str


@dataclass(frozen=True)
class TargetRow:
    """A target: its description, the ``code`` made for it, where that runs, and whether it is this machine."""

    name: str
    description: str
    code: str
    runs_on: str
    host: bool


@dataclass(frozen=True)
class ToolRow:
    """A compiler or emulator, the targets that need it, and its path, or None if it is missing."""

    tool: str
    packages: tuple[str, ...]
    targets: tuple[str, ...]
    path: str | None


def list_passes(passes: Mapping[str, type[Pass]]) -> tuple[PassRow, ...]:
    """The rows of passes, sorted by name."""
    return tuple(
        PassRow(name, summary(kind), {k: repr(v) for k, v in kind.options().items()}, str(kind.contract))
        for name, kind in sorted(passes.items())
    )


def summary(kind: type[Pass]) -> str:
    """The first paragraph of the docstring, on one line."""
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def list_targets(targets: Iterable[Target], host: str) -> tuple[TargetRow, ...]:
    """The rows of targets, in their order; ``host`` is the name of the target that is this machine."""
    code = {"llvm": "shared library", "c": "C99"}
    return tuple(TargetRow(t.name, t.description, code[t.codegen], runs_on(t), host=t.name == host) for t in targets)


def runs_on(target: Target) -> str:
    runner = target.runner
    return {"native": "this machine", "user": runner.emulator, "board": f"QEMU {runner.machine}"}[runner.kind]


def list_tools(targets: Iterable[Target]) -> tuple[ToolRow, ...]:
    """The tools of all targets."""
    users: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        toolchain, runner = target.toolchain, target.runner
        for tool, package in ((toolchain.compiler, toolchain.package), (runner.emulator, runner.package)):
            if tool:
                users.setdefault((tool, package), []).append(target.name)
    return tuple(ToolRow(t, tuple(p.split()), tuple(names), shutil.which(t)) for (t, p), names in users.items())
