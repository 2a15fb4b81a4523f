"""How to build for a machine and to run on it, as plain data that is stored with every artifact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

ABI_VERSION = 1
"""The version of the interface between an artifact and its callers."""

UNITS = {"": 0, "K": 10, "M": 20, "G": 30}
"""Powers of two, as memories are built and as their makers count."""


def bytes_of(text: str) -> int:
    """A size in bytes from text: ``65536``, ``64K``, ``64KB``, ``64 KiB``, ``1.5M``; raises ``ValueError``."""
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KMG]?)(?:I?B)?\s*", text.upper())
    size = float(found[1]) * 2 ** UNITS[found[2]] if found else 0.5
    if size != int(size):
        raise ValueError(f"{text[:60]!r} is no number of bytes; write 65536, 64K, 64KiB or 1M")
    return int(size)


Size = Annotated[int, bytes_of]
"""A size in bytes; a file may give it as text."""


@dataclass(frozen=True)
class Toolchain:
    """The C compiler driver of a machine, and the Debian package that has it."""

    compiler: str
    flags: tuple[str, ...] = ()
    package: str = ""

    @property
    def prefix(self) -> str:
        """The prefix of the names of its other tools, such as ``arm-none-eabi-``."""
        return self.compiler[: -len("gcc")] if self.compiler.endswith("gcc") else ""


@dataclass(frozen=True)
class Memory:
    """A memory of a board: its start address, and its size in bytes."""

    origin: int
    size: Size

    def __post_init__(self) -> None:
        if self.origin < 0 or self.size < 1:
            raise ValueError(f"there is no memory of {self.size} bytes at {self.origin}")


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
