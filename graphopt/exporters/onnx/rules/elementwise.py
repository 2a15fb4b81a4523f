"""Activations and bounds, element by element."""

from __future__ import annotations

import math

import numpy as np

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule


@export_rule(ops.Gelu)
def gelu(op: ops.Gelu, at: At) -> None:
    at.result("Gelu", *at.inputs, approximate="tanh" if op.tanh else "none")


@export_rule(ops.Celu)
def celu(op: ops.Celu, at: At) -> None:
    """By elu: ONNX Celu is there for float32 only."""
    alpha = at.constant(op.alpha, at.types[0].dtype)
    at.result("Mul", at.emit("Elu", at.emit("Div", at.input(0), alpha)), alpha)


@export_rule(ops.Swish)
def swish(op: ops.Swish, at: At) -> None:
    scaled = at.emit("Mul", at.input(0), at.constant(op.alpha, at.types[0].dtype))
    at.result("Mul", at.input(0), at.emit("Sigmoid", scaled))


@export_rule(ops.Clip)
def clip(op: ops.Clip, at: At) -> None:
    dtype = at.types[0].dtype
    low, high = op.low, op.high
    if not at.types[0].is_float:
        limits = np.iinfo(dtype)
        low = -math.inf if low <= limits.min else int(low)
        high = math.inf if high >= limits.max else int(high)
    inputs = [at.input(0)]
    if low > -math.inf or high < math.inf:
        inputs.append(at.constant(low, dtype) if low > -math.inf else "")
    if high < math.inf:
        inputs.append(at.constant(high, dtype))
    at.result("Clip", *inputs)
