"""Where ONNX Runtime itself leaves ONNX's text: what differs there is no fault. Few, and each as narrow as can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper


@dataclass(frozen=True)
class Departure:
    """An operator, when it applies (told by the attributes of the node and the opset), and why."""

    op: str
    applies: Callable[[dict[str, Any], int], bool]
    why: str


EXCEPTIONS: tuple[Departure, ...] = ()


def excepted(model: onnx.ModelProto) -> str:
    """The reason for which a difference on a file is no fault; empty if there is none."""
    opset = next(o.version for o in model.opset_import if o.domain == "")
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for exception in EXCEPTIONS:
            if exception.op == node.op_type and exception.applies(attributes, opset):
                return f"{node.op_type}: {exception.why}"
    return ""
