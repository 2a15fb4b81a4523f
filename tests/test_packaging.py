"""What an installed graphopt has: all files that it reads, and the libraries that it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "graphopt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = {"apache-tvm": "tvm", "apache-tvm-ffi": "tvm_ffi"}
"""What is imported of a distribution, where it is not its name."""


def test_every_file_is_packed_and_no_pattern_is_stale() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["graphopt"]
    matched = {pattern: set(PACKAGE.glob(pattern)) for pattern in patterns}
    assert all(matched.values()), [pattern for pattern, files in matched.items() if not files]
    files = {f for f in PACKAGE.rglob("*") if f.is_file() and "__pycache__" not in f.parts and f.suffix != ".py"}
    assert files - set().union(*matched.values()) == set()


def test_what_is_imported_is_what_is_installed() -> None:
    needed = modules(PROJECT["project"]["dependencies"])
    optional = set().union(*map(modules, PROJECT["project"]["optional-dependencies"].values()))
    found = set().union(*map(imported, PACKAGE.rglob("*.py")))
    assert needed - found == set()
    assert found - needed - optional - sys.stdlib_module_names == set()


def modules(requirements: list[str]) -> set[str]:
    """What is imported of the distributions required."""
    names = [re.split(r"[<>=~!\[]", text)[0] for text in requirements]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found |= {name.partition(".")[0] for name in names}
    return found
