"""What it takes to build for a machine and to run on it: plain data, stored with every artifact."""

from __future__ import annotations

from dataclasses import dataclass

ABI_VERSION = 1
"""The version of the interface between an artifact and what calls it."""


@dataclass(frozen=True)
class Toolchain:
    """The C compiler driver of a machine, and the Debian package that has it."""

    compiler: str
    flags: tuple[str, ...] = ()
    package: str = ""

    @property
    def prefix(self) -> str:
        """What stands before the names of its other tools, such as ``arm-none-eabi-``."""
        return self.compiler[: -len("gcc")] if self.compiler.endswith("gcc") else ""


@dataclass(frozen=True)
class Memory:
    """A memory of a board: the address it starts at, and its size in bytes."""

    origin: int
    size: int


@dataclass(frozen=True)
class Runner:
    """How programs run.

    ``kind`` is ``native`` (a shared library in this process), ``user`` (a static executable under the
    user-mode ``emulator``) or ``board`` (an image on the emulated board ``machine``, with its memories).
    """

    kind: str
    emulator: str = ""
    arguments: tuple[str, ...] = ()
    package: str = ""
    machine: str = ""
    flash: Memory | None = None
    ram: Memory | None = None
