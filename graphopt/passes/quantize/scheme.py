"""Which layers are quantized, and to how many bits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from graphopt.errors import InvalidInput

WEIGHT_BITS = {"int8": 8, "int4": 4, "binary": 1}
ACTIVATION_BITS = {"int8": 8, "int16": 16}


@dataclass(frozen=True)
class Scheme:
    """The bits of weights and activations, by node name.

    ``overrides`` maps patterns of node names (as the shell has them) to ``float32``, to a width of weights (``int4``,
    ``binary``), to one of activations (``int16``), or to ``int8`` for both; the last pattern that fits counts.
    """

    weights: str = "int8"
    activations: str = "int8"
    per_channel: bool = True
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {**WEIGHT_BITS, **ACTIVATION_BITS, "float32": 32}
        check_choice("weights", self.weights, WEIGHT_BITS)
        check_choice("activations", self.activations, ACTIVATION_BITS)
        for pattern, width in self.overrides.items():
            check_choice(f"overrides of {pattern!r}", width, known)

    def override(self, name: str) -> str | None:
        found = [width for pattern, width in self.overrides.items() if fnmatchcase(name, pattern)]
        return found[-1] if found else None

    def is_float(self, name: str) -> bool:
        return self.override(name) == "float32"

    def weight_bits(self, name: str) -> int:
        return WEIGHT_BITS.get(self.override(name) or self.weights, WEIGHT_BITS[self.weights])

    def activation_bits(self, name: str) -> int:
        return ACTIVATION_BITS.get(self.override(name) or self.activations, ACTIVATION_BITS[self.activations])


def check_choice(what: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise InvalidInput(f"{what}: {given!r} is none of {', '.join(known)}")
