"""The sizes with which a program is called: its manifest and its compiled code must agree on them."""

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
"""As in ``sizes.c``: the count of these numbers, the version of the interface, the bytes of the workspace, the
alignment, the number of inputs and of outputs, and the bytes of each of them."""

ELEMENT_BYTES = {f"{s}int{n}_t": n // 8 for s in ("", "u") for n in (8, 16, 32, 64)} | {"float": 4, "double": 8}


def manifest_sizes(manifest: Mapping[str, Any]) -> CallSizes:
    ports = [*manifest["inputs"], *manifest["outputs"]]
    counts = len(manifest["inputs"]), len(manifest["outputs"])
    whole = manifest["abi_version"], manifest["workspace_bytes"], manifest["alignment"], *counts
    return (6 + len(ports), *whole, *(math.prod(p["shape"]) * np.dtype(p["dtype"]).itemsize for p in ports))


def library_sizes(library: ctypes.CDLL, name: str) -> CallSizes:
    """The sizes that a shared library exports; empty if it exports none."""
    try:
        count = ctypes.c_uint64.in_dll(library, f"{name}_sizes").value
        return tuple((ctypes.c_uint64 * min(count, 1 << 16)).in_dll(library, f"{name}_sizes"))
    except ValueError:
        return ()


def header_sizes(text: str, manifest: Mapping[str, Any]) -> CallSizes:
    """The sizes in the header of a program; empty if one is missing."""
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
    """Raise ``InvalidInput`` if the compiled sizes of a program differ from those of its manifest."""
    if compiled != manifest_sizes(manifest):
        what = f"its sizes are not those of {MANIFEST}: one of the two was changed, or is of another program"
        raise InvalidInput(what, where=where, advice=ADVICE)
