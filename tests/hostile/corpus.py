"""Files made to do harm, each by a name that says how. Every one must be refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as save_tensors

from hostile.external import externals
from hostile.large import gigabytes
from hostile.malformed import malformed
from hostile.sources import cnn
from hostile.texts import stored, texts
from hostile.weights import unbounded


def nested_protobuf(levels: int) -> bytes:
    """Graphs in attributes of nodes of graphs, deeper than protobuf reads."""
    graph = b""
    for _ in range(levels):
        attribute = b"\x0a\x01b\x32" + varint(len(graph)) + graph
        inner = b"\x2a" + varint(len(attribute)) + attribute
        graph = b"\x0a" + varint(len(inner)) + inner
    return b"\x08\x0a\x3a" + varint(len(graph)) + graph


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def files(folder: Path) -> list[Path]:
    """The whole corpus in a folder."""
    contents: dict[str, bytes] = {}
    kinds = {"large": gigabytes(), "malformed": malformed(), "weights": unbounded(), "external": externals(folder)}
    for kind, models in kinds.items():
        contents |= {f"{kind}_{name}.onnx": m.SerializeToString() for name, m in models.items()}
    sound = cnn().SerializeToString()
    contents |= {f"text_{name}.gopt": stored(text) for name, text in texts().items()}
    contents |= {
        "empty.onnx": b"",
        "empty.gopt": b"",
        "zeros.onnx": bytes(100),
        "text.onnx": b"hello, world\n" * 100,
        "nested.onnx": nested_protobuf(60),
        "nested_deep.onnx": nested_protobuf(5000),
        "name_not_text.onnx": sound.replace(b"hostile", b"host\xff\xfee"),
        "length_lies.onnx": b"\x3a\xff\xff\xff\xff\x07" + sound,
        "pickle.pt": pickle.dumps({"a": 1}),
        "pickle.onnx": pickle.dumps({"a": 1}),
        "pickle.gopt": pickle.dumps({"a": 1}),
        "zip.onnx": b"PK\x03\x04" + bytes(100),
        "tflite.onnx": b"\x1c\0\0\0TFL3" + bytes(100),
        "onnx.gopt": sound,
        "header_huge.gopt": (1 << 62).to_bytes(8, "little") + b"{}",
        "header_large.gopt": (90_000_000).to_bytes(8, "little") + b"{" + b" " * 100,
        "header_deep.gopt": (200_000).to_bytes(8, "little") + b"[" * 200_000,
        "header_offsets.gopt": with_header({"0" * 16: {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}),
        "header_overlap.gopt": with_header(
            {c * 16: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for c in "0123"}
        ),
        "header_dtype.gopt": with_header({"0" * 16: {"dtype": "F8_E5M2", "shape": [4], "data_offsets": [0, 4]}}),
        "digest.gopt": stored("graph g() { return }", {"0" * 16: np.zeros(4, np.float32)}),
        "weights.gopt": save_tensors({"weight": np.zeros(4, np.float32)}),
        "tensors.onnx": save_tensors({"weight": np.zeros(4, np.float32)}),
    }
    paths = []
    for name, data in contents.items():
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
    for name, head in (
        ("sparse.onnx", b""),
        ("sparse_tail.onnx", b"\x08\x0a\x3a\xf0\xff\xff\xff\x03"),
        ("sparse.gopt", b""),
    ):
        path = folder / name
        with path.open("wb") as file:
            file.write(head)
            file.truncate(1 << 30)
        paths.append(path)
    for name in ("folder.onnx", "folder.gopt"):
        (folder / name).mkdir()
        paths.append(folder / name)
    (folder / "dangling.onnx").symlink_to(folder / "nothing")
    return [*paths, folder / "dangling.onnx", folder / "nothing.onnx", Path("/dev/zero"), Path("/dev/null")]


def with_header(header: dict[str, Any]) -> bytes:
    """A safetensors file of this header and 4 bytes."""
    header["__metadata__"] = {"format": "graphopt", "version": "1", "operators": "{}", "graph": ""}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)
