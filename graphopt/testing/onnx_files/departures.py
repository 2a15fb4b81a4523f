"""Where ONNX Runtime itself leaves ONNX's text: what differs there is no fault. Few, and each as narrow as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphopt.ir import Array

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Departure:
    """An operator, when it applies (told by a node's attributes, operands and first result), and why."""

    op: str
    applies: Callable[[Attributes, Sequence[Array | None], Array], bool]
    why: str


def crops_an_axis_of_unchanged_length(attributes: Attributes, operands: Sequence[Array | None], result: Array) -> bool:
    x, roi = operands[0], operands[1]
    if attributes.get("coordinate_transformation_mode") != b"tf_crop_and_resize" or x is None or roi is None:
        return False
    spans = roi.reshape(2, -1).T.tolist()
    return any(a == b and span != [0, 1] for a, b, span in zip(x.shape, result.shape, spans, strict=True))


def strides_over_elements(attributes: Attributes, operands: Sequence[Array | None], result: Array) -> bool:
    same = attributes.get("auto_pad", b"").startswith(b"SAME")
    strides = attributes.get("strides", attributes["kernel_shape"])
    return same and any(s > k for s, k in zip(strides, attributes["kernel_shape"], strict=True))


DEPARTURES = (
    Departure(
        "Resize",
        crops_an_axis_of_unchanged_length,
        "tf_crop_and_resize of an axis that keeps its length: it is copied whole, where the formula crops it",
    ),
    Departure(
        "LpPool",
        strides_over_elements,
        "auto_pad SAME with strides longer than the kernel: negative pads, which are read outside of the input",
    ),
)
"""All of them. MaxPool and AveragePool refuse negative pads, and Conv reads none: only LpPool is listed."""
