"""The rules by family; each registers when it is imported."""

from graphopt.frontends.onnx.rules import (
    basic,
    einsum,
    fourier,
    grid,
    index,
    integer,
    math,
    norm,
    qlinear,
    qonnx,
    recurrent,
    reduce,
    resize,
    shape,
)

__all__ = [
    "basic",
    "einsum",
    "fourier",
    "grid",
    "index",
    "integer",
    "math",
    "norm",
    "qlinear",
    "qonnx",
    "recurrent",
    "reduce",
    "resize",
    "shape",
]
