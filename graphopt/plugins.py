"""What comes from elsewhere: a user's own file, or what installed packages declare as entry points."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from graphopt.errors import InvalidInput
from graphopt.targets.target import add_targets

KINDS = ("operators", "rules", "passes", "targets")
"""What a package may bring, each in an entry-point group ``graphopt.<kind>``, in the order in which it is loaded."""


def load_plugins() -> list[str]:
    """Load what installed packages bring: operators, rules and passes by importing modules, targets from TOML files.

    One that fails keeps nobody from using the others: what went wrong with each is returned. What is loaded already
    stays as it is.
    """
    installed = entry_points()
    failures = []
    for kind in KINDS:
        for point in installed.select(group=f"graphopt.{kind}"):
            try:
                found = point.load()
                if kind == "targets":
                    load_targets(found)
            except (Exception, SystemExit) as error:
                why = " ".join(f"{type(error).__name__}: {error}".split())
                failures.append(f"the {kind} of {point.name} = {point.value} are left out: {why}")
    return failures


def load_targets(file: object) -> None:
    """Make the targets of a TOML file known by name. Raises ``InvalidInput`` for anything but the path of one."""
    if not isinstance(file, Path):
        raise InvalidInput(f"is a {type(file).__name__}, not the pathlib.Path of a TOML file")
    add_targets(file)


def load_file(path: str | Path) -> ModuleType:
    """Run a Python file that defines passes, operators or rules; they register themselves. Gives the module.

    Only ever load code that you trust. Raises ``InvalidInput`` if there is no such file, or if it fails.
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
    return module
