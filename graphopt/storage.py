"""graphopt's own file, ``model.gopt``: the text form of a graph, and its arrays by digest.

The file has the safetensors format, which holds no code and needs no unpacking. The text, the version of the format
and the versions of the operators are its metadata; the arrays are its tensors. Nothing in a file is trusted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from graphopt import ops
from graphopt.errors import GraphoptError, InvalidInput
from graphopt.ir import REGISTRY, Array, Graph, frozen, parse, print_graph, verify
from graphopt.ir.graph import Constant
from graphopt.upgrades import UPGRADES, Upgrading

SUFFIX = ".gopt"
FORMAT = 1
MAX_TEXT = 8 << 20
"""The most bytes of the text form."""

__all__ = ["FORMAT", "SUFFIX", "is_stored", "read", "to_bytes"]
assert ops  # the operators of a file are those registered


def to_bytes(graph: Graph) -> bytes:
    """The file of a graph, with reproducible bytes. Raises ``InvalidInput`` if its text is too long for a file."""
    text = print_graph(graph)
    if len(text.encode()) > MAX_TEXT:
        raise InvalidInput(f"the text of the graph has more than {MAX_TEXT:,} bytes", where=graph.name)
    versions = {name: REGISTRY[name].version for name in sorted(operators(graph))}
    metadata = {"format": "graphopt", "version": str(FORMAT), "operators": json.dumps(versions), "graph": text}
    return in_order(save(graph.constants, metadata))


def in_order(data: bytes) -> bytes:
    """A safetensors file with its header sorted: the library writes it in another order each time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def operators(graph: Graph) -> set[str]:
    """The names of the operators of a graph, and of the graphs in their attributes."""
    found = {node.op.name for node in graph.nodes}
    for node in graph.nodes:
        for attribute in vars(node.op).values():
            if isinstance(attribute, Graph):
                found |= operators(attribute)
    return found


def is_stored(path: Path) -> bool:
    """Whether a file has the suffix, or begins like a safetensors file: the length of the header, then ``{``."""
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def read(path: Path) -> Graph:
    """The graph in a file.

    Raises ``InvalidInput`` if it is not such a file, is damaged, or has a newer version than this graphopt.
    """
    where = str(path)
    if not path.is_file():
        raise InvalidInput("there is no such file", where=where)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            versions = check_metadata(metadata, where)
            constants = {digest: checked(digest, file.get_tensor(digest), where) for digest in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:  # the others for dtypes that numpy lacks
        raise InvalidInput("the file is no graphopt model, or is damaged", where=where, why=str(error)) from error
    try:
        upgrading = Upgrading(versions)
        graph = upgrading.finish(parse(metadata.get("graph", ""), constants, upgrading))
        verify(graph)
    except GraphoptError as error:
        raise InvalidInput(str(error), where=where) from error
    return graph


def check_metadata(metadata: Mapping[str, str], where: str) -> dict[str, int]:
    """The versions of the operators. Raises ``InvalidInput`` if this graphopt cannot read the file."""
    if metadata.get("format") != "graphopt":
        raise InvalidInput("this is a safetensors file, but not a graph", where=where)
    if metadata.get("version") != str(FORMAT):
        newer = f"format {metadata.get('version', '')[:20]!r} is read by another graphopt, this one reads {FORMAT}"
        raise InvalidInput(newer, where=where, advice="update graphopt")
    if len(metadata.get("graph", "")) > MAX_TEXT or len(metadata.get("operators", "")) > MAX_TEXT:
        raise InvalidInput(f"the text of the graph has more than {MAX_TEXT:,} bytes", where=where)
    try:
        versions = json.loads(metadata.get("operators", ""))
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the versions of the operators are damaged", where=where, why=str(error)) from error
    if not isinstance(versions, dict) or not all(type(v) is int for v in versions.values()):
        raise InvalidInput("the versions of the operators are damaged", where=where)
    if unknown := [name for name in versions if name not in REGISTRY]:
        raise InvalidInput(
            f"unknown operators {', '.join(unknown[:5])}", where=where, advice="import what defines them"
        )
    for name, version in versions.items():
        current = REGISTRY[name].version
        if version > current:
            raise InvalidInput(
                f"{name} is of version {version}, known is {current}", where=where, advice="update graphopt"
            )
        if missing := [v for v in range(version, current) if (name, v) not in UPGRADES]:
            raise InvalidInput(f"{name} of version {missing[0]} is no longer known", where=where)
    return versions


def checked(digest: str, data: Array, where: str) -> Array:
    """The array; raises ``InvalidInput`` if its digest is another."""
    data = frozen(data, copy=False)
    if Constant(value=data).digest != digest:
        raise InvalidInput(f"the data of {digest[:20]} does not match its digest", where=where, why="it is damaged")
    return data
