"""The integer forms of operators, by family; importing this room registers them."""

from graphopt.passes.quantize.rules import arithmetic, layer_norm, moves, pools, products, recurrent, softmax, tables

__all__ = ["arithmetic", "layer_norm", "moves", "pools", "products", "recurrent", "softmax", "tables"]
