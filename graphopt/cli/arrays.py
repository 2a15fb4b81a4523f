"""Reading .npy and .npz files of which nothing is believed: sizes are known, and small enough, before anything is read.

Nothing is ever unpickled. Imported by the commands that need it, since it imports numpy.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from graphopt.errors import GraphoptError, InvalidInput
from graphopt.ir import Array

MAX_BYTES = 1 << 30
"""Of all arrays that are read from a file."""
MAX_HEADER = 10_000
MAX_DIRECTORY = 1 << 20
"""Bytes of the list of names of an .npz."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy packs with."""
DAMAGED = (OSError, ValueError, EOFError, KeyError, struct.error, zlib.error, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: what it is, and how to read it."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    read: Callable[[], Array]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@contextmanager
def open_arrays(path: str | Path) -> Iterator[dict[str, StoredArray]]:
    """The arrays in a file by name, the one of an .npy under an empty name; to be read while the context lasts.

    Raises ``InvalidInput`` for what is no such file, is damaged, or asks for more than ``MAX_BYTES``.
    """
    where = str(path)
    try:
        if not Path(path).is_file():
            raise InvalidInput("there is no such file", where=where)
        with Path(path).open("rb") as file:
            head = file.read(6)
            file.seek(0)
            if head == b"\x93NUMPY":
                yield {"": stored(file, Path(path).stat().st_size, where)}
            elif head[:2] == b"PK":
                check_directory(file, where)
                with zipfile.ZipFile(file) as archive:
                    yield members(archive, where)
            else:
                raise InvalidInput("is neither .npy nor .npz", where=where, advice="write it with numpy.save or savez")
    except GraphoptError:
        raise
    except (*DAMAGED, RuntimeError) as error:
        raise InvalidInput("cannot be read as .npy or .npz", where=where, why=str(error)) from error


def read_all(path: str | Path) -> dict[str, Array]:
    """Every array in a file; raises ``InvalidInput`` as ``open_arrays`` does."""
    with open_arrays(path) as found:
        return read_some(found, list(found), str(path))


def read_some(found: dict[str, StoredArray], names: Collection[str], where: str) -> dict[str, Array]:
    """Some of the arrays in a file; raises ``InvalidInput`` if they are too large together."""
    needed = sum(math.prod(found[name].shape) * found[name].dtype.itemsize for name in names)
    if needed > MAX_BYTES:
        advice = "take fewer samples; for calibration a few hundred are enough"
        raise InvalidInput(f"its arrays have {needed:,} bytes, {MAX_BYTES:,} are the most", where=where, advice=advice)
    return {name: found[name].read() for name in names}


def check_directory(file: IO[bytes], where: str) -> None:
    """Raise ``InvalidInput`` for an archive with an endless list of names, which zipfile would read whole."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - (1 << 16) - 44))
    tail = file.read()
    file.seek(0)
    at = tail.find(b"PK\x05\x06")
    while at >= 0:
        size = int.from_bytes(tail[at + 12 : at + 16], "little")
        if size > MAX_DIRECTORY or b"PK\x06\x07" in tail[max(0, at - 20) : at]:
            raise InvalidInput("is no .npz that numpy writes", where=where, why="its list of names is too long")
        at = tail.find(b"PK\x05\x06", at + 1)


def members(archive: zipfile.ZipFile, where: str) -> dict[str, StoredArray]:
    """The arrays of an archive; raises ``InvalidInput`` for one that cannot be read."""
    found: dict[str, StoredArray] = {}
    for info in archive.infolist():
        name, place = info.filename.removesuffix(".npy"), f"{where}: {info.filename[:200]}"
        if name in found:
            raise InvalidInput("is there twice", where=place)
        if info.flag_bits & 1:
            raise InvalidInput("is encrypted", where=place)
        if info.compress_type not in METHODS:
            raise InvalidInput(f"is packed by method {info.compress_type}, which numpy does not use", where=place)
        with archive.open(info) as file:
            header = stored(file, info.file_size, place)

        def read(info: zipfile.ZipInfo = info, place: str = place) -> Array:
            with archive.open(info) as file:
                return stored(file, info.file_size, place).read()

        found[name] = StoredArray(header.shape, header.dtype, read)
    return found


def stored(file: IO[bytes], size: int, where: str) -> StoredArray:
    """The array that a file of so many bytes begins with, its header read; raises ``InvalidInput`` for a false one."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise InvalidInput("is no .npy file", where=where)
    width = 2 if magic[6] == 1 else 4
    length = file.read(width)
    count = int.from_bytes(length, "little")
    if count > MAX_HEADER:
        raise InvalidInput(f"its header has {count:,} bytes", where=where, why=f"{MAX_HEADER:,} are the most")
    header = io.BytesIO(length + file.read(count))
    parse = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = parse(header)
    except Exception as error:  # numpy parses it as Python, which fails in many ways
        raise InvalidInput("its header is damaged", where=where, why=str(error)[:200]) from error
    if dtype.hasobject:
        raise InvalidInput("holds pickled objects", where=where, why="which may run any code when they are read")
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.subdtype is not None:
        raise InvalidInput(f"is of {str(dtype)[:100]}", where=where, why="numbers and truth values can be read")
    if any(n < 0 for n in shape) or len(shape) > 32:
        raise InvalidInput(f"has the shape {str(shape)[:100]}", where=where)
    needed, there = math.prod(shape) * dtype.itemsize, size - 8 - width - count
    if needed > there:
        raise InvalidInput(f"claims {needed:,} bytes of numbers and has {there:,}", where=where, why="it was cut short")

    def read() -> Array:
        data = np.frombuffer(file.read(needed), dtype)
        made = data.reshape(shape, order="F" if fortran else "C")
        return np.ascontiguousarray(made, dtype.newbyteorder("=")).reshape(shape)

    return StoredArray(tuple(shape), dtype, read)
