"""Weights that stay in their file until they are read, once, into the arrays of the graph.

Parsed by protobuf they would be in memory as long as the model, beside every array made of them. So large tensors are
cut out of a file before it is parsed, and replaced by the places where they lie, in the way of external data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.ir.tensor import LazyValues

from graphopt.errors import InvalidInput
from graphopt.ir import Array

LARGE = 1 << 16
"""Bytes from which on the data of a tensor stays in the file."""
EMBEDDED = "embedded"
"""The key of the offset in the model's own file, where external data has the key "location"."""
PLACE = "place"
"""The key of the path of a file that was checked."""

Kind: TypeAlias = "dict[int, Kind]"
TENSOR: Kind = {}
GRAPH: Kind = {5: TENSOR}
ATTRIBUTE: Kind = {5: TENSOR, 6: GRAPH}
GRAPH[1] = {5: ATTRIBUTE}
MODEL: Kind = {7: GRAPH}
"""The messages that may hold tensors, by the numbers of their fields in onnx.proto."""
RAW_DATA = 9
MAX_FIELDS = 1 << 19
"""That are looked at, each for a microsecond; a model has some for each node and tensor."""


def without_tensors(data: bytes | memoryview) -> bytes:
    """The bytes of a model, with its place in them instead of the data of each large tensor.

    Raises ``ValueError`` or ``IndexError`` if it is no model, or has more fields than one has.
    """
    return without(data, 0, len(data), MODEL, count(MAX_FIELDS, -1))


def without(data: bytes | memoryview, start: int, end: int, kind: Kind, left: Iterator[int]) -> bytes:
    """A message within the data, likewise."""
    parts, kept, tail = list[bytes](), start, b""
    for field, begin, body, stop in fields(data, start, end):
        if not next(left):
            raise ValueError(f"more than {MAX_FIELDS:,} fields")
        if stop - body < LARGE:
            continue
        if kind is TENSOR and field == RAW_DATA:
            made, tail = b"", reference(body, stop - body)
        elif field in kind:
            inner = without(data, body, stop, kind[field], left)
            made = varint(field << 3 | 2) + varint(len(inner)) + inner
        else:
            continue
        parts += [bytes(data[kept:begin]), made]
        kept = stop
    return b"".join([*parts, bytes(data[kept:end]), tail])


def reference(offset: int, length: int) -> bytes:
    """The fields of a tensor that say where its data lies."""
    outside = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    for key, value in ((EMBEDDED, offset), ("length", length)):
        outside.external_data.add(key=key, value=str(value))
    return bytes(outside.SerializeToString())


def fields(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, where it begins, where its bytes begin and end (for numbers both the end)."""
    at = start
    while at < end:
        begin = at
        tag, at = read_varint(data, at)
        body = None
        match tag & 7:
            case 0:
                _, at = read_varint(data, at)
            case 1:
                at += 8
            case 2:
                length, body = read_varint(data, at)
                at = body + length
            case 5:
                at += 4
            case kind:
                raise ValueError(f"a field of kind {kind}")
        if at > end:
            raise ValueError("a field is cut short")
        yield tag >> 3, begin, at if body is None else body, at


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of protobuf, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def put_place(tensor: onnx.TensorProto, path: Path, offset: int) -> None:
    """Note where a tensor's data is known to lie."""
    del tensor.external_data[:]
    for key, value in ((PLACE, str(path)), ("offset", str(offset))):
        tensor.external_data.add(key=key, value=value)


class Tensors:
    """The tensors of one model; a large one is read from its file, once as long as its array is in use."""

    def __init__(self) -> None:
        self.used: WeakValueDictionary[tuple[object, ...], Array] = WeakValueDictionary()

    def read(self, tensor: gs.Constant) -> Array:
        """The array of a tensor. Raises ``InvalidInput`` if its data does not fit its shape."""
        try:
            stored = tensor._values.tensor if isinstance(tensor._values, LazyValues) else None
            if stored is None or stored.data_location != onnx.TensorProto.EXTERNAL:
                return np.asarray(tensor.values)
            entries = {entry.key: entry.value for entry in stored.external_data}
            key = entries[PLACE], entries["offset"], stored.data_type, *stored.dims
            found = self.used.get(key)
            if found is None:
                dtype = onnx.helper.tensor_dtype_to_np_dtype(stored.data_type)
                data = np.fromfile(entries[PLACE], dtype, math.prod(stored.dims), offset=int(entries["offset"]))
                self.used[key] = found = data.reshape(tuple(stored.dims))
            return found
        except Exception as error:  # onnx raises errors of many kinds for malformed tensors
            raise InvalidInput("its data is malformed", where=f"tensor {tensor.name!r}", why=str(error)) from error
