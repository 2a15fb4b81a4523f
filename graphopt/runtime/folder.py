"""Saving an artifact into a folder: whole or not at all, and without touching what is not graphopt's.

The new folder is made beside the old one and holds, by hard links, whatever the user added to the old one or edited.
Then the two are exchanged in one step, and of the old one those files are removed that graphopt wrote or that were
carried over, each only if it is still what it was when that was found out.
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
"""The files of an artifact that are the user's to edit: those that a firmware does not take as they are."""
RECORD = "record.json"
ELSEWHERE = "choose another folder"
STAT = tuple[int, int, int]
"""Inode, modification time and size of a file: the same ones, the same file."""


@dataclass(frozen=True)
class Saved:
    """Where an artifact was written, and what was left as it was.

    ``kept`` are files of the names of graphopt's own that the user edited or wrote. ``aside`` is a folder with what
    changed in the old artifact while the new one was being written, or None as a rule.
    """

    folder: Path
    kept: tuple[str, ...] = ()
    aside: Path | None = None


@dataclass(frozen=True)
class Survey:
    """What is in a folder: every file below it, those at its top that are not as graphopt wrote them, which stay,
    and the ones of these that stand where a file of graphopt's would."""

    known: Mapping[str, STAT] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def save_folder(files: Mapping[str, bytes], path: str | Path) -> Saved:
    """Write the files of an artifact to a folder, of which only unedited files of graphopt's are replaced or removed.

    Raises ``InvalidInput`` for a folder that is no artifact, for an edited file that the new ones cannot do with, and
    where the disk is full or write-protected; the folder is then as it was.
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
    """What is in a folder that is to get new files; raises ``InvalidInput`` if they cannot go there."""
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
    known = stats(folder)  # before the contents are read: what changes from here on is no longer known
    others = tuple(n for n in names if n != MANIFEST and not is_ours(folder / n, old.get(n)))
    kept = tuple(n for n in others if n in EDITABLE and (n in old or n in files))
    for name in others:
        if (name in old or name in files) and name not in kept:
            what = "was edited since graphopt wrote it" if name in old else "is not graphopt's, and would be replaced"
            advice = f"move it away, or {ELSEWHERE}; edits belong into {', '.join(EDITABLE)}"
            raise InvalidInput(what, where=str(folder / name), advice=advice)
    return Survey(known, others, kept)


def is_current(folder: Path) -> bool:
    """Whether the process works in a folder or below it."""
    try:
        return Path.cwd().is_relative_to(folder)
    except FileNotFoundError:
        return False


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that graphopt wrote to a folder; raises ``InvalidInput`` if it is no artifact of its."""
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
    """Whether it is a file, and not a link to one."""
    return path.is_file() and not path.is_symlink()


def is_ours(path: Path, digest: str | None) -> bool:
    """Whether a file is still as graphopt wrote it."""
    return digest is not None and is_regular(path) and sha256(path.read_bytes()) == digest


def prepare(stage: Path, folder: Path, survey: Survey, files: Mapping[str, bytes]) -> None:
    """Make the new folder, ``new`` in the stage, and the record by which the stage can be cleared at any time."""
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
    """Every file below a folder, links and pipes included, by its path in it. Raises ``InvalidInput`` at a mount."""
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
    """The same file in another place as well; of a folder, all that is in it."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=link)
    else:
        link(source, target)


def link(source: str | Path, target: str | Path) -> None:
    """A hard link, or a copy where the file system has no such links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def swap(fresh: Path, folder: Path, aside: Path) -> None:
    """Put ``fresh`` in the place of ``folder`` in one step; in two where the system has no such step.

    What was there is then at one of the two other places.
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
    """Exchange two folders by Linux's ``renameat2``; False where there is none. Raises ``OSError`` where it fails."""
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
    """Clear what a killed save left of itself; a stage in use, or one of another folder, is left alone."""
    with locked(stage) as held:
        record = read_record(stage) if held and stage.is_dir() else None
        if record is not None and record.get("folder", folder.name) == folder.name:
            put_back(stage / "old", folder)
            clear(stage)


def read_record(stage: Path) -> dict[str, Any]:
    """What is known of a stage; nothing if the save was killed before it could be written."""
    try:
        found: dict[str, Any] = json.loads((stage / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def clear(stage: Path) -> bool:
    """Remove a stage, but of an old artifact in it only what is known; whether nothing was left."""
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
            Path(root).chmod(stat.S_IRWXU)  # a folder of the user's that is read-only was carried over as such
            links = [name for name in folders if Path(root, name).is_symlink()]
            for path in (Path(root, name) for name in (*names, *links)):
                if known.get(path.relative_to(folder).as_posix()) == list(stat_of(path)):
                    path.unlink()
            Path(root).rmdir()
