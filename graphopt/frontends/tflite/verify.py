"""Bounds of a TFLite flatbuffer, checked before anything is read from it.

The flatbuffers package has a verifier in C++ but none in Python, and its readers trust every offset: a negative one
counts from the end of the file, and a length may be four billion. Here every table, string and vector that the
reader takes must lie within the file, and all of them together must not be more than the file can hold.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphopt.errors import InvalidInput


@dataclass(frozen=True)
class Scalar:
    """A number stored in the table itself."""

    size: int


@dataclass(frozen=True)
class Vector:
    """Numbers of so many bytes each, or the characters of a string."""

    size: int


@dataclass(frozen=True)
class Tables:
    """One table of a kind, or a vector of them."""

    kind: str
    many: bool = True


Field = Scalar | Vector | Tables
BYTE, INT, LONG, TEXT = Scalar(1), Scalar(4), Scalar(8), Vector(1)

SCHEMA: Mapping[str, Mapping[int, Field]] = {
    "Model": {0: INT, 1: Tables("OperatorCode"), 2: Tables("SubGraph"), 3: TEXT, 4: Tables("Buffer")},
    "OperatorCode": {0: BYTE, 1: TEXT, 2: INT, 3: INT},
    "SubGraph": {0: Tables("Tensor"), 1: Vector(4), 2: Vector(4), 3: Tables("Operator"), 4: TEXT},
    "Tensor": {
        0: Vector(4),
        1: BYTE,
        2: INT,
        3: TEXT,
        4: Tables("QuantizationParameters", many=False),
        5: BYTE,
        6: Tables("SparsityParameters", many=False),
        7: Vector(4),
        8: BYTE,
    },
    "QuantizationParameters": {0: Vector(4), 1: Vector(4), 2: Vector(4), 3: Vector(8), 4: BYTE, 6: INT},
    "SparsityParameters": {},
    "Operator": {
        0: INT,
        1: Vector(4),
        2: Vector(4),
        3: BYTE,
        4: Tables("Options", many=False),
        5: Vector(1),
        6: BYTE,
        7: Vector(1),
        8: Vector(4),
        9: LONG,
        10: LONG,
        11: BYTE,
        12: Tables("Options", many=False),
    },
    "Options": {},
    "Buffer": {0: Vector(1), 1: LONG, 2: LONG},
}
"""The fields by their place in the schema of TFLite (schema.fbs, version 3); those left out are not read.

Options are of some hundred kinds, most of them of numbers alone: of those the places are checked, and see ``vectors``.
"""
OPTION_VECTORS = {"ReshapeOptions": (0,), "SqueezeOptions": (0,)}
"""The vectors, of four bytes an element, in those options that have any which are read."""
IDENTIFIER = b"TFL3"
MAX_TABLES = 1 << 18
"""The most tables of a kind that a graph has: tensors, operators, buffers."""


def is_tflite(path: Path) -> bool:
    """Whether a file is, or by its name should be, a TFLite model."""
    with path.open("rb") as file:
        return file.read(8)[4:8] == IDENTIFIER or path.suffix.lower() == ".tflite"


class Verifier:
    """Walks the tables of a file, and counts what it is led to: offsets may lead to one place many times."""

    def __init__(self, data: bytes) -> None:
        self.data, self.budget = data, 8 * len(data) + 1024

    def model(self) -> None:
        """Raise ``InvalidInput`` if anything that is read of the model lies outside of the file."""
        if self.data[4:8] != IDENTIFIER:
            raise InvalidInput("this is no TFLite model", why="its identifier is missing")
        stack = [("Model", self.offset(0))]
        while stack:
            kind, place = stack.pop()
            fields = self.table(place)
            for slot, field in SCHEMA[kind].items():
                at = fields.get(slot)
                if at is None:
                    continue
                match field:
                    case Scalar(size):
                        self.within(at, size)
                    case Vector(size):
                        self.vector(at, size)
                    case Tables(inner, many):
                        stack += [(inner, p) for p in (self.tables(at) if many else [self.offset(at)])]

    def options(self, place: int, kind: str) -> None:
        """The same of the vectors in options of a kind, whose table begins at ``place``."""
        fields = self.table(place)
        for slot in OPTION_VECTORS.get(kind, ()):
            if slot in fields:
                self.vector(fields[slot], 4)

    def table(self, place: int) -> dict[int, int]:
        """Where the fields of a table begin, of those that it has."""
        vtable = place - self.number("<i", place)
        size, inline = self.number("<H", vtable), self.number("<H", vtable + 2)
        if size < 4 or size % 2 or inline < 4:
            raise self.damaged("a table has an impossible head")
        self.within(vtable, size)
        self.within(place, inline)
        self.take(inline)
        starts = struct.unpack_from(f"<{size // 2 - 2}H", self.data, vtable + 4)
        if any(start and not 4 <= start < inline for start in starts):
            raise self.damaged("a field lies outside of its table")
        return {slot: place + start for slot, start in enumerate(starts) if start}

    def vector(self, at: int, size: int) -> tuple[int, int]:
        """Where the elements of the vector that an offset leads to begin, and how many there are."""
        place = self.offset(at)
        count = self.number("<I", place)
        self.within(place + 4, count * size)
        self.take(4 + count * size)
        return place + 4, count

    def tables(self, at: int) -> list[int]:
        start, count = self.vector(at, 4)
        if count > MAX_TABLES:
            raise InvalidInput(f"{count:,} tables of a kind", why=f"{MAX_TABLES:,} are the most that are read")
        return [self.offset(start + 4 * i) for i in range(count)]

    def offset(self, at: int) -> int:
        """Where an offset leads to."""
        return at + self.number("<I", at)

    def number(self, form: str, at: int) -> int:
        self.within(at, struct.calcsize(form))
        return int(struct.unpack_from(form, self.data, at)[0])

    def within(self, at: int, size: int) -> None:
        if at < 0 or at + size > len(self.data):
            raise self.damaged(f"{size:,} bytes at {at:,} are needed, the file has {len(self.data):,}")

    def take(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise self.damaged("its tables refer to one place again and again")

    def damaged(self, why: str) -> InvalidInput:
        return InvalidInput("the file is damaged, or cut short", why=why)
