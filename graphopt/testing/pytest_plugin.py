"""A pytest plugin for golden files. Load it from a conftest.py:

    pytest_plugins = ["graphopt.testing.pytest_plugin"]

Then a test asks for ``golden`` and calls it: ``golden("folded", str(graph))`` holds the text to
``golden/folded.txt``. ``pytest --update-golden`` writes the files anew; read the diff before you commit it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")
    parser.addini("golden_dir", "where the golden files are", default="tests/golden")


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Golden:
    """A function of a name and a text that fails the test where the text is not that of the golden file."""
    folder = Path(pytestconfig.rootpath) / str(pytestconfig.getini("golden_dir"))
    update = bool(pytestconfig.getoption("--update-golden"))

    def check(name: str, text: str) -> None:
        path = folder / f"{name}.txt"
        text = text.rstrip("\n") + "\n"
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        known = path.read_text() if path.exists() else ""
        if known != text:
            lines = difflib.unified_diff(known.splitlines(), text.splitlines(), str(path), "now", lineterm="")
            pytest.fail("\n".join([*lines, "if this is as it should be: pytest --update-golden"]), pytrace=False)

    return check
