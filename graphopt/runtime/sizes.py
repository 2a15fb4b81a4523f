"""The sizes by which a program is called: those of its manifest must be those that its code was compiled with."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.runtime.manifest import ADVICE, MANIFEST

CallSizes = tuple[int, ...]
"""How many there are, the version of the interface, the bytes of the workspace, the alignment, the number of inputs and
of outputs, and the bytes of each of them; as ``sizes.c`` has them."""

ELEMENT_BYTES = {f"{s}int{n}_t": n // 8 for s in ("", "u") for n in (8, 16, 32, 64)} | {"float": 4, "double": 8}


def manifest_sizes(manifest: Mapping[str, Any]) -> CallSizes:
    ports = [*manifest["inputs"], *manifest["outputs"]]
    counts = len(manifest["inputs"]), len(manifest["outputs"])
    whole = manifest["abi_version"], manifest["workspace_bytes"], manifest["alignment"], *counts
    return (6 + len(ports), *whole, *(math.prod(p["shape"]) * np.dtype(p["dtype"]).itemsize for p in ports))


def library_sizes(library: ctypes.CDLL, name: str) -> CallSizes:
    """What a shared library exports as its sizes; none if it exports nothing of the kind."""
    try:
        count = ctypes.c_uint64.in_dll(library, f"{name}_sizes").value
        return tuple((ctypes.c_uint64 * min(count, 1 << 16)).in_dll(library, f"{name}_sizes"))
    except ValueError:
        return ()


def header_sizes(text: str, manifest: Mapping[str, Any]) -> CallSizes:
    """What the header of a program defines; none if it lacks any of it."""
    prefix = manifest["name"].upper()
    defined = dict(re.findall(rf"^#define {prefix}_(\w+) (\w+)$", text, re.MULTILINE))
    kinds = (("INPUT", manifest["inputs"]), ("OUTPUT", manifest["outputs"]))
    places = [f"{kind}_{i}" for kind, ports in kinds for i in range(len(ports))]
    try:
        whole = [int(defined[k]) for k in ("ABI_VERSION", "WORKSPACE_SIZE", "ALIGNMENT", "INPUT_COUNT", "OUTPUT_COUNT")]
        ports = [int(defined[f"{p}_SIZE"]) * ELEMENT_BYTES[defined[f"{p}_TYPE"]] for p in places]
    except (KeyError, ValueError):
        return ()
    return (6 + len(ports), *whole, *ports)


def check_sizes(compiled: CallSizes, manifest: Mapping[str, Any], where: str) -> None:
    """Raise ``InvalidInput`` if a program was compiled with other sizes than its manifest has."""
    if compiled != manifest_sizes(manifest):
        what = f"its sizes are not those of {MANIFEST}: one of the two was changed, or is of another program"
        raise InvalidInput(what, where=where, advice=ADVICE)
