"""The table of operators that are drawn: for each, how to draw its operands and attributes."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from graphopt.testing.onnx_files.drawing import OPSETS, FileDrawing

Draw = Callable[[FileDrawing, str], object]

DRAWS: dict[str, Draw] = {}
"""How to draw each operator, by its name; what ``draws`` registers."""


def draws(*names: str) -> Callable[[Draw], Draw]:
    """Register the way to draw these operators; it is given the name of the one to draw."""

    def register(draw: Draw) -> Draw:
        DRAWS.update(dict.fromkeys(names, draw))
        return draw

    return register


def opsets(op: str) -> list[int]:
    """The opsets that have an operator."""
    return [opset for opset in OPSETS if has(op, opset)]


def has(op: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(op, opset).deprecated
    except onnx.defs.SchemaError:
        return False
