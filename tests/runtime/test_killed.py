"""A write that is killed at any moment leaves what was there before, or nothing, or all of the new: never a half."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from compiling import small_net

import graphopt
from graphopt import Program, compile
from graphopt.testing import random_graph

EVENTS = {"open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
"""What Python tells an audit hook of the steps by which files change, each before it is done."""


def killed_before(step: int, act: Callable[[], None]) -> bool:
    """Whether a process that does ``act`` came to the step before which it is killed, by a signal it cannot catch."""
    child = os.fork()
    if child:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, -signal.SIGKILL)
        return ended != 0
    seen = 0

    def count(event: str, _: object) -> None:
        nonlocal seen
        if event in EVENTS:
            seen += 1
            if seen > step:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        act()
    except BaseException:
        os._exit(1)
    os._exit(0)


def steps(before: Callable[[], object], act: Callable[[], None], check: Callable[[], None]) -> int:
    """Kill ``act`` before every step in turn, and check what is left; the number of steps."""
    step = 0
    while True:
        before()
        if not killed_before(step, act):
            return step
        check()
        step += 1


@pytest.mark.parametrize("over", [True, False], ids=["over an old one", "anew"])
def test_a_program_killed_while_it_is_saved(over: bool, tmp_path: Path) -> None:
    new = compile(small_net(), "cortex-m4")
    old = Program({**new.files, "manifest.json": new.files["manifest.json"] + b"\n"})
    folder = tmp_path / "out"
    found = set()

    def before() -> None:
        if over:
            old.save(folder)
            (folder / "notes").mkdir(exist_ok=True)
            (folder / "notes" / "mine.txt").write_text("precious")

    def check() -> None:
        state = Program.load(folder).files if folder.exists() else None
        assert not over or (folder / "notes" / "mine.txt").read_text() == "precious"
        assert state in ((old.files, new.files) if over else (new.files, None))
        found.add("none" if state is None else "old" if state == old.files else "new")

    count = steps(before, lambda: new.save(folder), check)
    assert count > len(new.files)
    assert found >= ({"old", "new"} if over else {"none"})
    new.save(folder)
    assert Program.load(folder).files == new.files, "what is left behind is in nobody's way"
    assert [f.name for f in tmp_path.iterdir()] == ["out"], "and is gone"


@pytest.mark.parametrize("suffix", [".gopt", ".onnx"])
def test_a_graph_killed_while_it_is_saved(suffix: str, tmp_path: Path) -> None:
    path, sizes = tmp_path / f"m{suffix}", set()
    old, new = random_graph(1), random_graph(2)
    graphopt.save(new, path)  # what is imported at the first time is imported here
    wanted = {path.read_bytes()}
    graphopt.save(old, path)
    wanted.add(path.read_bytes())

    def check() -> None:
        assert path.read_bytes() in wanted
        sizes.add(path.stat().st_size)

    assert steps(lambda: graphopt.save(old, path), lambda: graphopt.save(new, path), check) >= 2
    assert len(sizes) == 1 and len(wanted) == 2
    graphopt.save(new, path)
    assert [f.name for f in tmp_path.iterdir()] == [path.name]
