"""The types of C in which elements are held, and numbers of them."""

import re

import numpy as np

INT64_MIN = -(2**63)

C_TYPES = {f"{s}int{n}": f"{s}int{n}_t" for s in ("", "u") for n in (8, 16, 32, 64)} | {
    "float32": "float",
    "float64": "double",
    "bool": "uint8_t",
}
"""By dtype; a bool is a byte."""


def declared(dtype: str, name: str) -> str:
    """A declaration of C: of a dtype, "void", or a pointer ("int8*", or "const int8*" to what is only read)."""
    element = dtype.removeprefix("const ").removesuffix("*")
    const, pointer = "const " * dtype.startswith("const "), "*" * dtype.endswith("*")
    return f"{const}{C_TYPES.get(element, element)} {pointer}{name}"


def c_literal(value: float | int, dtype: str) -> str:
    """A number as C: for floats the shortest decimal that reads back as the same value."""
    if not dtype.startswith("float"):
        whole = int(value)
        if whole == INT64_MIN:  # C has no negative literals, and its magnitude fits no type
            return f"({whole + 1} - 1)"
        return f"{whole}u" if whole > -INT64_MIN - 1 else str(whole)
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    text = str(np.dtype(dtype).type(value))
    text = text if re.search(r"[.e]", text) else f"{text}.0"
    return f"{text}f" if dtype == "float32" else text
