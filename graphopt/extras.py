"""What is installed by extras: a package that is not there is missed by name, with the line that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphopt.errors import MissingPackage

EXTRAS = {"torch": "torch", "hypothesis": "testing"}
"""The extra of graphopt that brings a module."""


@contextmanager
def optional_packages() -> Iterator[None]:
    """Around imports of modules of extras: raises ``MissingPackage`` for one that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        line = f"pip install 'graphopt[{EXTRAS[module]}]'"
        raise MissingPackage(f"{module} is not installed, and this needs it", advice=line) from error
