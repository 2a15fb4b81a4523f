"""Matrix products and convolutions."""

from __future__ import annotations

import numpy as np

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule, filled, onnx_dtype
from graphopt.ir import Op


@export_rule(ops.Conv, ops.ConvTranspose)
def conv(op: Op, at: At) -> None:
    kind = "Conv" if isinstance(op, ops.Conv) else "ConvTranspose"
    kernel = at.types[1].static_shape[2:]
    attributes = filled(op)
    attributes.pop("half", None)
    at.result(kind, at.input(0), weight_of(op, at), *at.bias(2), kernel_shape=kernel, **attributes)


def weight_of(op: Op, at: At) -> str:
    """The weight of a layer; one that is stored as float16 is so in the file, too, and cast."""
    weight = at.node.inputs[1].constant
    if not getattr(op, "half", False) or weight is None or not ops.fits_half(weight):
        return at.input(1)
    stored = at.derived(1, "float16", lambda data: data.astype(np.float16))
    assert stored is not None
    return at.emit("Cast", stored, to=onnx_dtype(at.types[1].dtype))


@export_rule(ops.Linear)
def linear(op: ops.Linear, at: At) -> None:
    """Gemm for matrices, else a product by the transposed weight and a sum."""
    bias = at.bias(2)
    if at.types[0].rank == 2:
        at.result("Gemm", at.input(0), weight_of(op, at), *bias, transB=1)
        return
    weight = None if op.half else at.derived(1, "transposed", np.transpose)
    weight = weight or at.emit("Transpose", weight_of(op, at), perm=(1, 0))
    if not bias:
        at.result("MatMul", at.input(0), weight)
        return
    at.result("Add", at.emit("MatMul", at.input(0), weight), *bias)
