"""The rules of the built-in operators, by family. Importing this registers them."""

from graphopt.exporters.torch.rules import (
    elementwise,
    indexing,
    integer,
    logic,
    normalization,
    pooling,
    products,
    quantized,
    recurrent,
    reduction,
    shape,
)

__all__ = [
    "elementwise",
    "indexing",
    "integer",
    "logic",
    "normalization",
    "pooling",
    "products",
    "quantized",
    "recurrent",
    "reduction",
    "shape",
]
