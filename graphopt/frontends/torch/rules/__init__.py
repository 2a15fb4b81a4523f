"""The rules by family; each registers when it is imported."""

from graphopt.frontends.torch.rules import (
    attention,
    basic,
    index,
    math,
    norm,
    quantized,
    recurrent,
    resize,
    shape,
)

__all__ = [
    "attention",
    "basic",
    "index",
    "math",
    "norm",
    "quantized",
    "recurrent",
    "resize",
    "shape",
]
