"""From graphs to files and models of others: ``to_onnx``, and ``save`` for files.

onnx is imported when it is needed, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.storage import SUFFIX, to_bytes, write_atomically

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["save", "to_onnx"]


def to_onnx(graph: Graph) -> ModelProto:
    """The graph as an ONNX model: the same function, the names of inputs, outputs, nodes and weights kept.

    The batch N is a dynamic dimension ``N``, and k*N is ``N_times_k``; ``graphopt.load`` reads both back. A fused
    node becomes its parts. Raises ``Unsupported`` with every node that ONNX has no operator for.
    """
    from graphopt.exporters.onnx import to_onnx as export

    return export(graph)


def save(graph: Graph, path: str | Path) -> None:
    """Write a graph to a file, whole or not at all: ``.gopt`` is graphopt's own form, ``.onnx`` is ONNX.

    Raises ``InvalidInput`` for another suffix, ``Unsupported`` for what the form cannot hold.
    """
    path = Path(path)
    if path.suffix == SUFFIX:
        write_atomically(path, to_bytes(graph))
    elif path.suffix == ".onnx":
        from graphopt.exporters.onnx import serialized

        write_atomically(path, serialized(graph))
    else:
        raise InvalidInput(
            f"the suffix {path.suffix!r} is of no known form", where=str(path), advice=f"use {SUFFIX} or .onnx"
        )
