"""A target is data: a table of builtin.toml, or a few lines of a user's own file."""

from __future__ import annotations

import dataclasses
import difflib
import os
import platform
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from graphopt.errors import InvalidInput
from graphopt.records import record, table
from graphopt.runtime.machine import Runner, Size, Toolchain


@dataclass(frozen=True)
class Target:
    """A machine to compile for.

    ``codegen`` is ``llvm`` (a shared library for Linux) or ``c`` (a C99 project). ``lanes`` is the
    number of float32 in a SIMD register (1: no SIMD), ``registers`` the number of float registers.
    ``isa`` names instruction sets, the most special first; rules and instructions are looked up by them.
    ``optimize`` is what kernels are chosen for: the fewest bytes of flash ("size"), the fewest cycles ("speed"), or the
    fewest cycles for at most a quarter more flash than the former ("balanced").
    ``flash`` and ``ram`` are budgets in bytes for a whole program; None means no limit.
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
    optimize: str = "balanced"
    flash: Size | None = None
    ram: Size | None = None

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} = {getattr(self, name)!r} is none of {', '.join(map(str, allowed))}")
        if self.alignment < 1 or self.alignment & (self.alignment - 1):
            raise ValueError(f"alignment = {self.alignment} is not a power of two")
        for name in ("flash", "ram"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} = {getattr(self, name)} is negative")
        if self.registers < 4:
            raise ValueError(f"registers = {self.registers} are too few")
        if self.runner.kind not in RUNNERS:
            raise ValueError(f"runner.kind = {self.runner.kind!r} is none of {', '.join(RUNNERS)}")

    @property
    def sets(self) -> tuple[str, ...]:
        """By what rules are found, the most special first: the instruction sets, then the code generator."""
        return (*self.isa, self.codegen)


AVX2 = frozenset({"avx2", "fma", "bmi2", "f16c"})
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
HOSTS: dict[str, dict[str, frozenset[str]]] = {
    "x86_64": {
        "x86-64-v2": frozenset(),
        "x86-64-v3": AVX2,
        "x86-64-v3-vnni": AVX2 | {"avx_vnni"},
        "x86-64-v4": AVX512,
        "x86-64-v4-vnni": AVX512 | {"avx512_vnni"},
    },
    "aarch64": {"aarch64": frozenset(), "aarch64-dotprod": frozenset({"asimddp"})},
}
"""By machine, the targets that it may run natively, the most capable last, and what of /proc/cpuinfo each needs."""
X86_HOSTS = tuple(HOSTS["x86_64"])
RUNNERS = ("native", "user", "board")
OPTIMIZE = ("size", "balanced", "speed")
"""What a program may be compiled for."""
CHOICES: dict[str, tuple[object, ...]] = {"codegen": ("llvm", "c"), "lanes": (1, 4, 8, 16), "optimize": OPTIMIZE}
EXAMPLE = 'write, for one:\n  [my-board]\n  base = "cortex-m4"\n  ram = 65536'


@cache
def builtin_targets() -> dict[str, Target]:
    """The targets that come with graphopt, by name."""
    text = resources.files("graphopt.targets").joinpath("builtin.toml").read_text()
    return read_targets(text, "builtin.toml", {})


ADDED: dict[str, Target] = {}
"""The targets of installed packages, by name."""


def known_targets() -> dict[str, Target]:
    """All targets known by name: those that come with graphopt, then those of installed packages."""
    return {**builtin_targets(), **ADDED}


def add_targets(file: Path) -> None:
    """Register all targets of a TOML file by name.

    Raises ``InvalidInput`` if the file has none, or if a name belongs to another target.
    """
    found = read_targets(read_text(file), str(file), known_targets())
    if not found:
        raise InvalidInput("no target in this file", where=str(file), advice=EXAMPLE)
    known = {**known_targets(), "host": None}
    for name, target in found.items():
        if known.get(name, target) != target:
            raise InvalidInput(f"there is a target {name!r} already", where=str(file), advice="choose another name")
    ADDED.update(found)


def read_targets(text: str, where: str, known: dict[str, Target]) -> dict[str, Target]:
    """Targets from TOML, one table each; ``base`` names the target from which missing fields are taken.

    Raises ``InvalidInput`` with the faulty table and field.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput("not a TOML file", where=where, why=str(error)) from error
    found: dict[str, Target] = {}
    for name, data in tables.items():
        try:
            found[name] = _target(name, data, {**known, **found})
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"bad target: {error}", where=f"{where}: {name}") from error
    return found


def _target(name: str, data: object, known: dict[str, Target]) -> Target:
    fields = dict(table(data, name))
    base = fields.pop("base", None)
    if "name" in fields:
        raise ValueError("the name of a target is that of its table")
    if base is None:
        return record(Target, {**fields, "name": name}, name)
    if base not in list(known):
        close = difflib.get_close_matches(str(base), known, 3) or sorted(known)
        raise ValueError(f"base = {base!r} is no target; there are {', '.join(close)}")
    return record(Target, {**vars(known[base]), **fields, "name": name}, name)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("cannot be read", where=str(path), why=str(error)) from error


def target_of_file(path: str, name: str) -> Target:
    """The target of a file, by name if the file has several; raises ``InvalidInput`` if it is not clear which one."""
    if not Path(path).is_file():
        raise InvalidInput("no such target file", where=path)
    found = read_targets(read_text(Path(path)), path, known_targets())
    if not found:
        raise InvalidInput("no target in this file", where=path, advice=EXAMPLE)
    if name in found or (not name and len(found) == 1):
        return found[name or next(iter(found))]
    what = f"no target is called {name!r}" if name else f"there are {len(found)} targets in this file"
    raise InvalidInput(what, where=path, advice=f"write {' or '.join(f'{path}:{n}' for n in found)}")


def get_target(name: str | Target) -> Target:
    """A target by name (``host`` is this machine), or from a file: ``board.toml``, or ``boards.toml:name`` of several.

    Raises ``InvalidInput`` for an unknown name, with the nearest ones.
    """
    if isinstance(name, Target):
        return name
    if name == "host":
        return dataclasses.replace(builtin_targets()[host_name()], name="host")
    file, suffix, table = name.partition(".toml")
    if suffix and (not table or table[0] == ":"):
        return target_of_file(file + suffix, table[1:])
    known = known_targets()
    if name not in known:
        close = difflib.get_close_matches(name, known, 3) or sorted(known)
        raise InvalidInput(
            f"no target is called {name!r}", advice=f"there are {', '.join(close)}, host, or a .toml file"
        )
    return known[name]


@cache
def host_name() -> str:
    """The most capable builtin target that this machine runs natively, or the lesser one that GRAPHOPT_HOST names.

    Raises ``InvalidInput`` if the variable does not name a target that this machine runs.
    """
    able = native_targets()
    chosen = os.environ.get("GRAPHOPT_HOST", able[-1])
    if chosen not in able:
        raise InvalidInput(f"{chosen!r} is none of {', '.join(able)}", where="GRAPHOPT_HOST")
    return chosen


def native_targets() -> tuple[str, ...]:
    """The builtin targets that this machine runs natively, the most capable last."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    hosts = HOSTS.get(platform.machine(), HOSTS["x86_64"])
    return tuple(name for name, needed in hosts.items() if needed <= flags)
