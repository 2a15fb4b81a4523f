"""The types of C in which elements are held."""

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
