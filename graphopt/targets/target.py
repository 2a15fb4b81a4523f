"""A target is data: a row of builtin.toml, or a few lines of a user's own file."""

from __future__ import annotations

import dataclasses
import difflib
import platform
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from graphopt.errors import InvalidInput
from graphopt.runtime.machine import Memory, Runner, Toolchain


@dataclass(frozen=True)
class Target:
    """A machine to compile for.

    ``codegen`` is ``llvm`` (a shared library for Linux) or ``c`` (a C99 project). ``lanes`` is the
    number of float32 in a SIMD register (1: none), ``registers`` how many float registers there are.
    ``isa`` names instruction sets, the most special first; kernel rules are looked up by them.
    ``flash`` and ``ram`` are budgets in bytes for a whole program, None for no limit.
    """

    name: str
    description: str
    codegen: str
    isa: tuple[str, ...]
    toolchain: Toolchain
    runner: Runner
    triple: str = ""
    cpu: str = ""
    features: tuple[str, ...] = ()
    lanes: int = 1
    registers: int = 16
    alignment: int = 16
    flash: int | None = None
    ram: int | None = None


@cache
def builtin_targets() -> dict[str, Target]:
    """The targets that come with graphopt, by name."""
    text = resources.files("graphopt.targets").joinpath("builtin.toml").read_text()
    return read_targets(text, "builtin.toml", {})


def read_targets(text: str, where: str, known: dict[str, Target]) -> dict[str, Target]:
    """Targets from TOML: a table each; ``base`` names a target whose other fields it takes.

    Raises ``InvalidInput`` naming the table and the field at fault.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput("not a TOML file", where=where, why=str(error)) from error
    found: dict[str, Target] = {}
    for name, table in tables.items():
        try:
            found[name] = _target(name, dict(table), {**known, **found})
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidInput(f"bad target: {error}", where=f"{where}: {name}") from error
    return found


def _target(name: str, table: dict[str, Any], known: dict[str, Target]) -> Target:
    base = table.pop("base", None)
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    if "toolchain" in fields:
        fields["toolchain"] = Toolchain(**_tuples(fields["toolchain"]))
    if "runner" in fields:
        runner = _tuples(fields["runner"])
        for memory in ("flash", "ram"):
            if memory in runner:
                runner[memory] = Memory(**runner[memory])
        fields["runner"] = Runner(**runner)
    if base is None:
        return Target(name=name, **fields)
    return dataclasses.replace(known[base], name=name, **fields)


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def get_target(name: str | Target) -> Target:
    """A target by name (``host`` is this machine), or from the one table of a ``.toml`` file.

    Raises ``InvalidInput`` for an unknown name, with the nearest ones.
    """
    if isinstance(name, Target):
        return name
    if name == "host":
        return dataclasses.replace(builtin_targets()[host_name()], name="host")
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise InvalidInput("no such target file", where=name)
        return list(read_targets(Path(name).read_text(), name, builtin_targets()).values())[-1]
    if name not in builtin_targets():
        close = difflib.get_close_matches(name, builtin_targets(), 3) or sorted(builtin_targets())
        raise InvalidInput(
            f"no target is called {name!r}", advice=f"there are {', '.join(close)}, host, or a .toml file"
        )
    return builtin_targets()[name]


@cache
def host_name() -> str:
    """The builtin target that this machine can run natively, the most capable one."""
    if platform.machine() == "aarch64":
        return "aarch64"
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags:
        return "x86-64-v4"
    return "x86-64-v3" if {"avx2", "fma", "bmi2", "f16c"} <= flags else "x86-64-v2"
