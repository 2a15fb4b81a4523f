"""Atomic writes: files and folders are written beside their place first, so a reader sees the old or the new one.

The unfinished file or folder has a hidden name, and its process holds a lock on it. So the remains of a killed process
have such a name and a free lock, and the next write to the same place removes them.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PART = "graphopt-part"
"""The suffix of unfinished files and folders."""


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write the whole file, or keep the old one if anything fails. A link is followed, modes are kept.

    Raises ``OSError`` with the name of the file.
    """
    target = Path(path).resolve()
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_bytes(data)  # a pipe or a device, which cannot be replaced
        else:
            replace_file(target, data)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error


def replace_file(target: Path, data: bytes) -> None:
    """Write beside a file, and replace it in one step."""
    for left in leftovers(target):
        if left.is_file():
            with locked(left) as held:
                if held:
                    left.unlink(missing_ok=True)
    with part_of(target, lambda new: new.touch(exist_ok=False)) as part:
        try:
            write_durably(part, data)
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_durably(path: Path, data: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def part_of(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new file or folder beside ``target``, made by ``make`` and locked while it is written."""
    while True:
        part = target.with_name(f".{target.name[:40]}-{secrets.token_hex(8)}.{PART}")
        make(part)
        with locked(part, unless_sure=True) as held:
            if held:
                yield part
                return


@contextmanager
def locked(path: Path, unless_sure: bool = False) -> Iterator[bool]:
    """Whether this process holds the lock of ``path`` in the context.

    It is false if another process has the lock, or if nothing is there, and ``unless_sure`` if the file system has no
    locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        yield unless_sure and not isinstance(error, FileNotFoundError)
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.lexists(path) and os.path.samestat(os.fstat(descriptor), path.stat())
        except BlockingIOError:
            held = False
        except OSError:
            held = unless_sure
        yield held
    finally:
        os.close(descriptor)


def leftovers(target: Path) -> list[Path]:
    """The unfinished files and folders beside ``target``, in use or not."""
    name = re.compile(rf"\.{re.escape(target.name[:40])}-[0-9a-f]{{16}}\.{PART}")
    try:
        return [found for found in target.parent.iterdir() if name.fullmatch(found.name)]
    except OSError:
        return []
