"""Quantize and dequantize: reals in and out, the rest is done for every operator."""

from __future__ import annotations

from graphopt.errors import Unsupported
from graphopt.frontends.emit import cast
from graphopt.frontends.tflite.node import TfliteNode, tflite_rule
from graphopt.ir import Value


@tflite_rule("QUANTIZE", layout="either")
def quantize(at: TfliteNode) -> Value:
    if at.outputs[0].parameters is None:
        raise Unsupported("a result without a scale")
    return at.real(0)


@tflite_rule("DEQUANTIZE", layout="either")
def dequantize(at: TfliteNode) -> Value:
    """Of float16 it is a cast."""
    return cast(at, at.real(0), "float32")
