"""Functions that a recipe names, as ``file.py:name`` or ``package.module:name``: code, which is run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphopt.errors import InvalidInput


def named_function(text: str, folder: Path) -> Callable[..., Any]:
    """What ``file.py:name`` or ``package.module:name`` names; files are relative to the folder.

    Raises ``InvalidInput`` if there is no such thing, or if its module fails.
    """
    place, _, name = text.rpartition(":")
    if not place:
        raise InvalidInput("names no function", where=text, advice="write file.py:name or package.module:name")
    try:
        found = getattr(module_at(place, folder), name)
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"cannot be had: {type(error).__name__}: {error}", where=text) from error
    if not callable(found):
        raise InvalidInput("is no function", where=text)
    return found  # type: ignore[no-any-return]


def module_at(place: str, folder: Path) -> Any:
    """A module by its name, or from a file, which is run once."""
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = (folder / place).resolve()
    name = f"graphopt_recipe_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
