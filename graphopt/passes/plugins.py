"""Passes from elsewhere: a user's own file, or an installed package with an entry point."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path

from graphopt.errors import InvalidInput

ENTRY_POINT_GROUP = "graphopt.passes"


def load_file(path: str | Path) -> None:
    """Run a Python file that defines passes; they register themselves. Only ever load code that you trust.

    Raises ``InvalidInput`` if there is no such file, or if it fails.
    """
    file = Path(path)
    spec = importlib.util.spec_from_file_location(f"graphopt_user_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise InvalidInput("is not a Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"failed with {type(error).__name__}: {error}", where=str(path)) from error


def load_entry_points() -> list[str]:
    """Import every installed module that declares passes in the group ``graphopt.passes``.

    One that fails keeps nobody from using the others: what went wrong with each is returned.
    """
    failures = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except (Exception, SystemExit) as error:
            why = f"{type(error).__name__}: {error}"
            failures.append(f"the passes of {point.name} = {point.value} are left out: {why}")
    return failures
