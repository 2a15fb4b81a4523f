"""Names for C: identifiers that are safe and unique, and text that cannot end a comment or a string."""

from __future__ import annotations

import re
from collections.abc import Container

MAX_LABEL = 400
MAX_IDENTIFIER = 120
"""Far below the limits of compilers, and enough for the paths of modules."""


def identifier(text: str) -> str:
    """A name as a C identifier, cut if it is too long; each run of invalid characters becomes one underscore."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:MAX_IDENTIFIER].strip("_")
    return name if re.match(r"[A-Za-z]", name) else f"m_{name}"


def unique(name: str, taken: Container[str]) -> str:
    """The name, with a number appended if it is taken."""
    count, found = 0, name
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    return found


def label(text: str) -> str:
    """A name for a comment or a string in C: shortened, and characters that could end either are replaced."""
    return re.sub(r"[^A-Za-z0-9 _.,:=+-]", "_", text[:MAX_LABEL])
