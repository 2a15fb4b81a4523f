"""Saving into a folder in which there is something: what is the user's stays, what is graphopt's alone is replaced."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from compiling import small_net

from graphopt import Program, compile
from graphopt.errors import InvalidInput
from graphopt.files import PART, part_of, write_atomically
from graphopt.runtime import folder as saving


@pytest.fixture(scope="module")
def project() -> Program:
    return compile(small_net(), "cortex-m4")


@pytest.fixture(scope="module")
def other() -> Program:
    """Another artifact, of files of other names and of the same."""
    return compile(small_net(), "cortex-m4", name="net")


def state(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


MANIFESTS = {
    "of a web app": b'{"name": "app", "icons": []}',
    "of nothing": b"{}",
    "of a number": b"3",
    "of no text": b"\xff\xfe",
    "of depth": b"[" * 100_000,
    "of an older graphopt": None,
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_folder_with_some_manifest_is_refused(case: str, project: Program, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "thesis.txt").write_text("precious")
    old = {k: v for k, v in project.manifest.items() if k not in ("generator", "files", "seal")}
    (folder / "manifest.json").write_bytes(MANIFESTS[case] or json.dumps(old).encode())
    before = state(tmp_path)
    with pytest.raises(InvalidInput, match="another folder"):
        project.save(folder)
    assert state(tmp_path) == before


def test_other_folders_and_files_are_refused(project: Program, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    for name, reason in (("mine", "not an artifact"), ("file", "not a folder")):
        with pytest.raises(InvalidInput, match=reason):
            project.save(tmp_path / name)
    assert set(state(tmp_path)) == {"mine/thesis.tex", "file"}


def test_unedited_files_are_replaced_and_stale_ones_removed(project: Program, other: Program, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is fine
    project.save(tmp_path / "out")
    saved = other.save(tmp_path / "out")
    assert (saved.folder, saved.kept, saved.aside) == (tmp_path / "out", (), None)
    assert state(tmp_path / "out") == other.files
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("links", [True, False], ids=["", "no hard links"])
@pytest.mark.parametrize("exchange", [True, False], ids=["", "no exchange"])
def test_what_the_user_added_or_edited_stays(
    links: bool, exchange: bool, project: Program, other: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    project.save(folder)
    (folder / "main.c").write_text("int main(void) { return 42; }")
    (folder / "example").write_text("built here by the user")
    (folder / "board" / "deep").mkdir(parents=True)
    (folder / "board" / "deep" / "start.c").write_text("reset")
    (folder / "board" / "deep").chmod(0o555)
    (folder / "link").symlink_to("/nowhere")
    os.mkfifo(folder / "pipe")
    before = {k: v for k, v in state(folder).items() if k not in project.files or k == "main.c"}
    if not links:
        (folder / "pipe").unlink()  # which only a link can be made to
        monkeypatch.setattr(os, "link", refused)
    if not exchange:
        monkeypatch.setattr(saving, "exchanged", lambda a, b: False)
    saved = other.save(folder)
    assert saved.kept == ("main.c",)
    assert state(folder) == {**other.files, **before}
    assert (folder / "link").readlink() == Path("/nowhere")
    assert (folder / "pipe").is_fifo() == links
    assert (folder / "board" / "deep").stat().st_mode & 0o777 == 0o555
    assert [f.name for f in tmp_path.iterdir()] == ["out"]
    assert other.save(folder).kept == ("main.c",), "it stays an edited file"
    assert Program.load(folder).files == {**other.files, "main.c": before["main.c"]}


def refused(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("edited", ["model.c", "manifest.json", "model.h"])
def test_an_edited_file_that_must_fit_the_others_is_refused(edited: str, project: Program, tmp_path: Path) -> None:
    project.save(tmp_path / "out")
    text = (tmp_path / "out" / edited).read_text()
    (tmp_path / "out" / edited).write_text(text.replace("64", "65", 1).replace("cortex-m4", "cortex-m5", 1) + " ")
    before = state(tmp_path)
    with pytest.raises(InvalidInput, match=rf"{edited}: was edited.*\n.*another folder"):
        project.save(tmp_path / "out")
    assert state(tmp_path) == before


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_stands_where_a_new_file_would_is_refused(
    kind: str, project: Program, other: Program, tmp_path: Path
) -> None:
    project.save(tmp_path / "out")
    mine = tmp_path / "out" / "net.c"
    if kind == "link":
        (tmp_path / "elsewhere.c").write_text("mine")
        mine.symlink_to(tmp_path / "elsewhere.c")
    elif kind == "file":
        mine.write_text("mine")
    else:
        mine.mkdir()
    before = state(tmp_path)
    with pytest.raises(InvalidInput, match=r"net\.c: is not graphopt's, and would be replaced"):
        other.save(tmp_path / "out")
    assert state(tmp_path) == before


def test_modes_follow_the_umask_and_the_folder_that_was(project: Program, tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        project.save(tmp_path / "new")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750
        assert (tmp_path / "new" / "model.c").stat().st_mode & 0o777 == 0o640
        (tmp_path / "new").chmod(0o711)
        project.save(tmp_path / "new")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o711
        write_atomically(tmp_path / "file", b"x")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
        (tmp_path / "file").chmod(0o600)
        write_atomically(tmp_path / "file", b"y")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(previous)


def test_links_are_followed(project: Program, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    project.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert Program.load(tmp_path / "real").files == project.files
    (tmp_path / "file").write_text("old")
    (tmp_path / "alias").symlink_to("file")
    write_atomically(tmp_path / "alias", b"new")
    assert (tmp_path / "alias").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_the_current_folder_is_not_pulled_away(
    project: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="outside"):
        project.save(".")


def test_a_full_disk_leaves_the_old_one_and_no_rest(
    project: Program, other: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.save(tmp_path / "out")
    (tmp_path / "out" / "mine").write_text("mine")
    before = state(tmp_path)
    written = 0

    def full(_: int) -> None:
        nonlocal written
        written += 1
        if written == 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidInput, match=r"out: cannot be written \(No space left on device\)"):
        other.save(tmp_path / "out")
    assert state(tmp_path) == before


def stages(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if f.name.endswith(PART)]


def test_what_is_in_use_or_not_ours_is_not_swept(project: Program, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (tmp_path / ".out-thesis").mkdir()
    (tmp_path / ".out-0123456789abcdef").write_text("mine")
    strange = tmp_path / f".out-0123456789abcdef.{PART}"
    strange.mkdir()
    (strange / "mine.txt").write_text("mine")
    with part_of(folder, Path.mkdir) as used:
        project.save(folder)
        assert used.exists(), "another process is at it"
    assert (strange / "mine.txt").exists()
    project.save(folder)
    assert not used.exists()
    shutil.rmtree(strange)
    assert stages(tmp_path) == []


def test_what_changes_while_it_is_saved_is_put_aside(
    project: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that writes a new file in the place of the old one, at the last moment."""
    folder = tmp_path / "out"
    project.save(folder)
    swap = saving.swap

    def late(fresh: Path, target: Path, aside: Path) -> None:
        write_atomically(target / "main.c", b"edited at the last moment")
        (target / "new.txt").write_text("new")
        swap(fresh, target, aside)

    monkeypatch.setattr(saving, "swap", late)
    saved = project.save(folder)
    assert saved.aside is not None
    monkeypatch.undo()
    for _ in range(2):
        found = {f.name: f.read_text() for f in saved.aside.rglob("*") if f.is_file() and f.name != saving.RECORD}
        assert found == {"main.c": "edited at the last moment", "new.txt": "new"}
        project.save(folder)
    assert state(folder) == project.files


def test_an_error_names_the_file_and_not_its_part(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "file", tmp_path):
        with pytest.raises(OSError) as caught:
            write_atomically(path, b"x")
        assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_devices_are_written_to(tmp_path: Path) -> None:
    write_atomically("/dev/null", b"x")
    assert not Path("/dev/null").is_file()
