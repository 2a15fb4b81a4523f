"""The rules of the built-in operators, by family. Importing this registers them."""

from graphopt.exporters.onnx.rules import (
    elementwise,
    indexing,
    integer,
    logic,
    plain,
    pooling,
    products,
    recurrent,
    reduction,
    shape,
)

__all__ = [
    "elementwise",
    "indexing",
    "integer",
    "logic",
    "plain",
    "pooling",
    "products",
    "recurrent",
    "reduction",
    "shape",
]
