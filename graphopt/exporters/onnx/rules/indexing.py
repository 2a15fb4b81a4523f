"""The largest elements and their positions."""

from __future__ import annotations

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule


@export_rule(ops.TopK)
def top_k(op: ops.TopK, at: At) -> None:
    at.result("TopK", at.input(0), at.constant([op.k]), axis=op.axis, largest=int(op.largest), sorted=1)


@export_rule(ops.TopKIndices)
def top_k_indices(op: ops.TopKIndices, at: At) -> None:
    both = at.emit_all("TopK", at.input(0), at.constant([op.k]), results=2, axis=op.axis, largest=int(op.largest))
    at.result("Identity", both[1])
