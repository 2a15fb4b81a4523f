"""Ports of a program as ``--port`` says them: NAME=LAYOUT:DTYPE:SCALE:mean=...:std=...:push_rows, all but the first
of which may be missing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from graphopt.errors import GraphoptError, InvalidInput

if TYPE_CHECKING:
    from graphopt.targets import Port

FORM = "write image=nhwc:uint8:1/255, or image=nhwc:uint8:1/255:mean=0.485,0.456,0.406:std=0.229,0.224,0.225"
KINDS = (
    ("push_rows", "push_rows"),
    ("layout", "n[a-z]+"),
    ("dtype", "[a-z]+[0-9]+"),
    ("scale", "[^=]+"),
    ("mean", "mean=.*"),
    ("std", "std=.*"),
)
"""What a part is, by the first pattern that it matches."""

IDLE = (("scale", "1"), ("mean", "0"), ("std", "1"))
"""The numbers of a port of which nothing is said."""


def read_ports(given: list[str]) -> dict[str, Port]:
    """Ports by name; raises ``InvalidInput`` with the option that cannot be read."""
    ports: dict[str, Port] = {}
    for text in given:
        name, _, parts = text.partition("=")
        try:
            if name in ports:
                raise InvalidInput("is the second of its name")
            ports[name] = read_port(parts.split(":"))
        except GraphoptError as error:
            told = error.what if error.where is None else f"{error.where}: {error.what}"
            raise error.told(what=told, where=f"--port {text}") from error
    return ports


def read_port(parts: list[str]) -> Port:
    from graphopt.targets import Port

    found: dict[str, str] = {}
    for part in parts:
        kind = next((kind for kind, pattern in KINDS if re.fullmatch(pattern, part)), None)
        if kind is None or kind in found:
            raise InvalidInput(f"{part!r} cannot be read", advice=FORM)
        found[kind] = part
    (scale, *_), mean, std = (read_numbers(found.get(kind, idle).rpartition("=")[2]) for kind, idle in IDLE)
    return Port(found.get("layout", "nchw"), found.get("dtype"), scale, mean, std, "push_rows" in found)


def read_numbers(text: str) -> list[float]:
    """Numbers between commas, each perhaps a fraction."""
    try:
        pairs = [one.split("/") for one in text.split(",")]
        return [float(top) / float(*(bottom or ["1"])) for top, *bottom in pairs]
    except (ArithmeticError, TypeError, ValueError) as error:
        raise InvalidInput(f"{text!r} is no number", advice=FORM) from error
