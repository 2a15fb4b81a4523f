"""Imports of packages from extras: a missing one raises an error with its name and the command to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphopt.errors import MissingPackage

EXTRAS = {
    "torch": "torch",
    "lightning_fabric": "training",
    "hypothesis": "testing",
    "flwr": "federated",
    "ray": "federated",
    "opacus": "federated",
}
"""The extra of graphopt that installs a module, by module."""


@contextmanager
def optional_packages() -> Iterator[None]:
    """A context for imports of packages from extras; raises ``MissingPackage`` if one is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        line = f"pip install 'graphopt[{EXTRAS[module]}]'"
        raise MissingPackage(f"{module} is not installed, and this needs it", advice=line) from error
