"""Which layers are quantized, and to how many bits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from graphopt.errors import InvalidInput
from graphopt.ir import TensorType
from graphopt.ops import SCALE_GROUP, StoredForm

WEIGHT_BITS = {"int8": 8, "int4": 4, "int4-grouped": 4, "binary": 1}
ACTIVATION_BITS = {"int8": 8, "int16": 16, "binary": 8}
"""The bits of results. With ``binary`` they have 8, and layers with binary weights read the signs of their input."""
XNOR = "xnor"
"""The override for binary weights with a binary input."""


@dataclass(frozen=True)
class Scheme:
    """The bits of weights and activations, by node name.

    ``overrides`` maps patterns of node names (as in the shell) to ``float32``, to a width of weights (``int4``,
    ``int4-grouped``, ``binary``), to one of activations (``int16``), to ``int8`` for both, or to ``xnor`` for binary
    weights and a binary input; the last pattern that matches wins. With ``binary`` activations, every layer with binary
    weights is ``xnor``.
    """

    weights: str = "int8"
    activations: str = "int8"
    per_channel: bool = True
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (*dict.fromkeys((*WEIGHT_BITS, *ACTIVATION_BITS)), XNOR, "float32")
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
        return width_bits(self.override(name) or self.weights, WEIGHT_BITS[self.weights])

    def is_grouped(self, name: str) -> bool:
        """Whether the weights of a layer have a factor for each group of input channels."""
        return (self.override(name) or self.weights) == "int4-grouped"

    def activation_bits(self, name: str) -> int:
        width = self.override(name)
        return ACTIVATION_BITS[width if width in ("int8", "int16") else self.activations]

    def reads_signs(self, name: str) -> bool:
        """Whether a layer should read the signs of its input, times one scale."""
        signs = self.activations == "binary" or self.override(name) == XNOR
        return signs and self.weight_bits(name) == 1


def width_bits(width: str, default: int = 8) -> int:
    """The bits of weights for a width or an override; the default if it does not concern weights."""
    return 1 if width == XNOR else WEIGHT_BITS.get(width, default)


def form_of(width: str, weight: TensorType) -> StoredForm:
    """The form in which weights of a width are stored; without a whole group of channels they have no factors."""
    if width == "int8":
        return StoredForm.WHOLE
    form = StoredForm(width)
    return StoredForm.NIBBLES if form is StoredForm.GROUPED and weight.static_shape[1] < SCALE_GROUP else form


def check_choice(what: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise InvalidInput(f"{what}: {given!r} is none of {', '.join(known)}")
