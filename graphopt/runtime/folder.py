"""Save an artifact into a folder: completely or not at all, and without changing files that are not graphopt's.

The new folder is made beside the old one. Hard links bring the files that the user added or edited into it. Then the
two folders are exchanged in one step. Finally the files of the old folder that graphopt wrote, or that were linked, are
removed, each only if it did not change in the meantime.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphopt.errors import InvalidInput
from graphopt.files import leftovers, locked, part_of, write_durably
from graphopt.runtime.manifest import GENERATOR, MANIFEST, is_sealed, parse, read_manifest, sealed, sha256

EDITABLE = ("main.c", "Makefile", "CMakeLists.txt", "README.md")
"""The files of an artifact that the user may edit, since firmware does not use them unchanged."""
RECORD = "record.json"
ELSEWHERE = "choose another folder"
STAT = tuple[int, int, int]
"""Inode, modification time and size of a file; if they are equal, the file is unchanged."""


@dataclass(frozen=True)
class Saved:
    """Where an artifact was written, and which files were kept.

    ``kept`` are files with names of graphopt's files that the user edited or wrote. ``aside`` is a folder with files of
    the old artifact that changed while the new one was written; usually it is None.
    """

    folder: Path
    kept: tuple[str, ...] = ()
    aside: Path | None = None


@dataclass(frozen=True)
class Survey:
    """The contents of a folder: all files below it; the entries at its top that stay, since they are not as graphopt
    wrote them; and those of these that have the name of a new file."""

    known: Mapping[str, STAT] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def save_folder(files: Mapping[str, bytes], path: str | Path) -> Saved:
    """Write the files of an artifact to a folder; only unedited files of graphopt's are replaced or removed.

    Raises ``InvalidInput`` if the folder is not an artifact, if a file that must be replaced was edited, and if the
    disk is full or write-protected; the folder is then unchanged.
    """
    folder = Path(path).resolve()
    try:
        for left in leftovers(folder):
            sweep(left, folder)
        survey = survey_of(folder, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with part_of(folder, Path.mkdir) as stage:
            try:
                prepare(stage, folder, survey, files)
                swap(stage / "new", folder, stage / "old")
            finally:
                cleared = clear(stage)
    except OSError as error:
        advice = "choose a folder that can be written, renamed and removed: not a mount point"
        raise InvalidInput(
            "cannot be written", where=str(folder), why=error.strerror or str(error), advice=advice
        ) from error
    return Saved(folder, survey.kept, None if cleared else stage)


def survey_of(folder: Path, files: Mapping[str, bytes]) -> Survey:
    """The contents of a folder that will get new files; raises ``InvalidInput`` if they cannot go there."""
    where = str(folder)
    if not folder.exists():
        return Survey()
    if not folder.is_dir():
        raise InvalidInput("exists, and is not a folder", where=where, advice=ELSEWHERE)
    if is_current(folder):
        what = "is the current folder, or around it, and cannot be exchanged"
        raise InvalidInput(what, where=where, advice="run this from outside of it")
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        return Survey()
    old = digests_of(folder)
    known = stats(folder)  # before the contents are read, so that later changes are noticed
    others = tuple(n for n in names if n != MANIFEST and not is_ours(folder / n, old.get(n)))
    kept = tuple(n for n in others if n in EDITABLE and (n in old or n in files))
    for name in others:
        if (name in old or name in files) and name not in kept:
            what = "was edited since graphopt wrote it" if name in old else "is not graphopt's, and would be replaced"
            advice = f"move it away, or {ELSEWHERE}; edits belong into {', '.join(EDITABLE)}"
            raise InvalidInput(what, where=str(folder / name), advice=advice)
    return Survey(known, others, kept)


def is_current(folder: Path) -> bool:
    """Whether the working directory is this folder or below it."""
    try:
        return Path.cwd().is_relative_to(folder)
    except FileNotFoundError:
        return False


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that graphopt wrote to a folder; raises ``InvalidInput`` if it is not an artifact."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes() if is_regular(path) else None
        made_here = parse(data).get("generator") == GENERATOR
        manifest = read_manifest(data) if made_here else {}
    except InvalidInput as error:
        what = "exists, and is not an artifact"
        raise InvalidInput(what, where=str(folder), why=error.what, advice=ELSEWHERE) from error
    if not made_here:
        why = f"its {MANIFEST} is not graphopt's, or of an older graphopt"
        raise InvalidInput("exists, and is not an artifact", where=str(folder), why=why, advice=ELSEWHERE)
    if not is_sealed(manifest):
        what = "was edited, so that nobody knows which files are yours"
        raise InvalidInput(what, where=str(path), advice=ELSEWHERE)
    digests: dict[str, str] = manifest.get("files", {})
    return digests


def is_regular(path: Path) -> bool:
    """Whether a path is a file, and not a symbolic link to one."""
    return path.is_file() and not path.is_symlink()


def is_ours(path: Path, digest: str | None) -> bool:
    """Whether a file is still as graphopt wrote it."""
    return digest is not None and is_regular(path) and sha256(path.read_bytes()) == digest


def prepare(stage: Path, folder: Path, survey: Survey, files: Mapping[str, bytes]) -> None:
    """Make the new folder, ``new`` in the stage, and a record with which the stage can be cleared at any time."""
    fresh = stage / "new"
    fresh.mkdir()
    record = {"folder": folder.name, "fresh": fresh.stat().st_ino, "known": survey.known}
    write_durably(stage / RECORD, json.dumps(record).encode())
    for name, data in sealed(files).items():
        if name not in survey.kept:
            write_durably(fresh / name, data)
    for name in survey.others:
        carry(folder / name, fresh / name)
    if folder.exists():
        status = folder.stat()
        with suppress(PermissionError):
            os.chown(fresh, status.st_uid, status.st_gid)
        fresh.chmod(stat.S_IMODE(status.st_mode))


def stats(folder: Path) -> dict[str, STAT]:
    """Every file below a folder, including links and pipes, by relative path. Raises ``InvalidInput`` at a mount."""
    found: dict[str, STAT] = {}
    device = folder.stat().st_dev
    for root, folders, names in os.walk(folder):
        for path in (Path(root, name) for name in (*folders, *names)):
            status = path.lstat()
            if status.st_dev != device:
                raise InvalidInput("is of another file system", where=str(path), advice=ELSEWHERE)
            if not stat.S_ISDIR(status.st_mode):
                found[path.relative_to(folder).as_posix()] = stat_of(path)
    return found


def stat_of(path: Path) -> STAT:
    status = path.lstat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def carry(source: Path, target: Path) -> None:
    """Link a file to another place; for a folder, everything in it."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=link)
    else:
        link(source, target)


def link(source: str | Path, target: str | Path) -> None:
    """Make a hard link, or a copy if the file system has no hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def swap(fresh: Path, folder: Path, aside: Path) -> None:
    """Put ``fresh`` in the place of ``folder`` in one step, or in two if the system cannot exchange folders.

    The old folder is then at ``fresh`` or at ``aside``.
    """
    if not folder.exists():
        fresh.rename(folder)
    elif not exchanged(fresh, folder):
        try:
            folder.rename(aside)
            fresh.rename(folder)
        except BaseException:
            put_back(aside, folder)
            raise


def put_back(aside: Path, folder: Path) -> None:
    if aside.exists() and not folder.exists():
        aside.rename(folder)


def exchanged(a: Path, b: Path) -> bool:
    """Exchange two folders by Linux's ``renameat2``; False if there is none. Raises ``OSError`` if it fails."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if not call(here, os.fsencode(a), here, os.fsencode(b), exchange):
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(b))


def sweep(stage: Path, folder: Path) -> None:
    """Remove what a killed save left behind; a stage in use, or one of another folder, is not touched."""
    with locked(stage) as held:
        record = read_record(stage) if held and stage.is_dir() else None
        if record is not None and record.get("folder", folder.name) == folder.name:
            put_back(stage / "old", folder)
            clear(stage)


def read_record(stage: Path) -> dict[str, Any]:
    """The record of a stage; empty if the save was killed before it wrote the record."""
    try:
        found: dict[str, Any] = json.loads((stage / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def clear(stage: Path) -> bool:
    """Remove a stage, but only the known files of an old artifact in it; gives whether nothing is left."""
    record = read_record(stage)
    for folder in (stage / "new", stage / "old"):
        if folder.is_dir() and folder.stat().st_ino == record.get("fresh"):
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.is_dir():
            discard(folder, record.get("known", {}))
    if not any((stage / name).exists() for name in ("new", "old")):
        (stage / RECORD).unlink(missing_ok=True)
    with suppress(OSError):
        stage.rmdir()
    return not stage.exists()


def discard(folder: Path, known: Mapping[str, Any]) -> None:
    """Remove the files below a folder that are still those known, and the folders that are then empty."""
    for root, folders, names in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(root).chmod(stat.S_IRWXU)  # a read-only folder of the user stayed read-only when it was linked
            links = [name for name in folders if Path(root, name).is_symlink()]
            for path in (Path(root, name) for name in (*names, *links)):
                if known.get(path.relative_to(folder).as_posix()) == list(stat_of(path)):
                    path.unlink()
            Path(root).rmdir()
