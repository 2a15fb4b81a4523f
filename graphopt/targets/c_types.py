"""The types of C in which elements are held."""

C_TYPES = {f"{s}int{n}": f"{s}int{n}_t" for s in ("", "u") for n in (8, 16, 32, 64)} | {
    "float32": "float",
    "float64": "double",
    "bool": "uint8_t",
}
"""By dtype; a bool is a byte."""
