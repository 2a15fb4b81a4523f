"""Every Python block of the documentation runs, in order, in one namespace a page; ``$ graphopt`` lines run too."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graphopt.cli import main
from graphopt.ir import REGISTRY
from graphopt.passes import PASSES
from graphopt.targets.instructions import INSTRUCTIONS
from graphopt.targets.kernels import KERNEL_RULES
from graphopt.targets.scalars import SCALARS
from graphopt.testing.onnx_files import DRAWS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTICES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


Snapshot = tuple[dict[str, Any], dict[str, Any]]
TABLES: tuple[dict[str, Any], ...] = (REGISTRY, PASSES, DRAWS, KERNEL_RULES, SCALARS, INSTRUCTIONS)
BUILT_IN: list[Snapshot] = [(table, dict(table)) for table in TABLES]


@contextmanager
def tables_kept() -> Iterator[None]:
    """The tables of operators, passes and rules afterwards as they were."""
    known = [(table, dict(table)) for table in TABLES]
    try:
        yield
    finally:
        restore(known)


def restore(known: list[Snapshot]) -> None:
    """The tables as they were, but for what graphopt itself has added: it makes instructions when it needs them."""
    for table, before in known:
        own = {key: entry for key, entry in table.items() if key not in before and of_graphopt(entry)}
        table.clear()
        table.update(before | own)


def of_graphopt(entry: Any) -> bool:
    return str(getattr(entry, "meaning", entry).__module__).startswith("graphopt.")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    with tables_kept():
        for kind, code in BLOCK.findall(page.read_text()):
            if kind == "console":
                run_commands(code, monkeypatch)
                continue
            if name := re.match(r"# file: (\S+)", code):
                Path(name.group(1)).write_text(code)
            exec(compile(code, str(page), "exec"), namespace)


def run_commands(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in this process, which saves seconds, and without what the page has defined."""
    for line in code.splitlines():
        if line.startswith("$ graphopt "):
            monkeypatch.setattr(sys, "argv", shlex.split(line.removeprefix("$ ")))
            with tables_kept(), pytest.raises(SystemExit) as end:
                restore(BUILT_IN)
                main()
            assert not end.value.code, line


@pytest.mark.parametrize("page", [*PAGES, *NOTICES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_have_rows(page: Path) -> None:
    assert not re.search(r"^\|[-:| ]+\|\n(?!\|)", page.read_text(), re.MULTILINE)


def test_tables_hold_what_was_measured() -> None:
    run = [sys.executable, "scripts/fill_tables.py", "--check"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_citation_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
