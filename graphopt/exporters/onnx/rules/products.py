"""Matrix products and convolutions."""

from __future__ import annotations

import numpy as np

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule, filled
from graphopt.ir import Op


@export_rule(ops.Conv, ops.ConvTranspose)
def conv(op: Op, at: At) -> None:
    kind = "Conv" if isinstance(op, ops.Conv) else "ConvTranspose"
    kernel = at.types[1].static_shape[2:]
    at.result(kind, at.input(0), at.input(1), *at.bias(2), kernel_shape=kernel, **filled(op))


@export_rule(ops.Linear)
def linear(op: ops.Linear, at: At) -> None:
    """Gemm for matrices, else a product by the transposed weight and a sum."""
    bias = at.bias(2)
    if at.types[0].rank == 2:
        at.result("Gemm", at.input(0), at.input(1), *bias, transB=1)
        return
    weight = at.derived(1, "transposed", np.transpose) or at.emit("Transpose", at.input(1), perm=(1, 0))
    if not bias:
        at.result("MatMul", at.input(0), weight)
        return
    at.result("Add", at.emit("MatMul", at.input(0), weight), *bias)
