"""Poolings."""

from __future__ import annotations

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule, filled


@export_rule(ops.MaxPool, ops.AveragePool)
def pool(op: ops.Pool, at: At) -> None:
    attributes = filled(op)
    kernel = attributes.pop("kernel")
    at.result(
        "MaxPool" if isinstance(op, ops.MaxPool) else "AveragePool", *at.inputs, kernel_shape=kernel, **attributes
    )
