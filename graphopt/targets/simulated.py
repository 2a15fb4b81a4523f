"""Layers of a quantized model that would be computed in floats, which is easily overlooked."""

from __future__ import annotations

import warnings

from graphopt.ir import Graph, Node, Trait, Value
from graphopt.ops import Dequantize

NAMED = 3
"""So many layers are named."""


def simulated_layers(graph: Graph) -> list[Node]:
    """The products that read stored integers through ``dequantize``: before ``LowerInteger`` all of a quantized file.

    Where that declined a layer, ``graphopt.optimize`` has folded its weights to floats.
    """
    return [node for node in graph.nodes if Trait.PRODUCT in node.op.traits and any(map(is_stored, node.inputs))]


def is_stored(value: Value) -> bool:
    op, inputs = value.node.op, value.node.inputs
    return isinstance(op, Dequantize) and inputs[0].constant is not None


def warn_of_simulated(graph: Graph) -> None:
    """Warn of quantized layers that are computed in floats, as long as ``graphopt.optimize`` was not run."""
    if layers := simulated_layers(graph):
        named = ", ".join(graph.names[node] for node in layers[:NAMED]) + ", ..." * (len(layers) > NAMED)
        count = f"{len(layers)} quantized layer{'s' * (len(layers) > 1)}"
        text = f"{graph.name}: {count} ({named}) will be computed in floats, which is slow and large"
        warnings.warn(f"{text}; graphopt.optimize(graph) first makes them layers of integers", stacklevel=3)
