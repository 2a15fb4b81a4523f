"""Every Python block of the documentation runs, in order, in one namespace a page; ``$ graphopt`` lines run too."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from graphopt.ir import REGISTRY
from graphopt.passes import PASSES
from graphopt.testing.onnx_files import DRAWS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = [(table, dict(table)) for table in (REGISTRY, PASSES, DRAWS)]
    namespace: dict[str, object] = {"__name__": "page"}
    try:
        for kind, code in BLOCK.findall(page.read_text()):
            if kind == "console":
                run_commands(code)
                continue
            if name := re.match(r"# file: (\S+)", code):
                Path(name.group(1)).write_text(code)
            exec(compile(code, str(page), "exec"), namespace)
    finally:
        for table, before in known:
            table.clear()
            table.update(before)


def run_commands(code: str) -> None:
    for line in code.splitlines():
        if line.startswith("$ graphopt "):
            arguments = shlex.split(line.removeprefix("$ graphopt "))
            subprocess.run([sys.executable, "-c", "from graphopt.cli import main; main()", *arguments], check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link
