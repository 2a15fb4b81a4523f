"""Operators that only move elements: on the integers of a quantized tensor, as they are stored."""

from __future__ import annotations

from graphopt.frontends import normal
from graphopt.frontends.tflite.node import TfliteNode, reshaped, tflite_rule
from graphopt.ir import Value


@tflite_rule("RESHAPE")
def reshape(at: TfliteNode) -> Value:
    (x,) = at.kept(0)
    wanted = at.integers(1) if at.has(1) else [int(d) for d in at.options("ReshapeOptions").NewShapeAsNumpy()]
    return reshaped(at, x, normal.target_shape(x, wanted, zero_copies=False))
