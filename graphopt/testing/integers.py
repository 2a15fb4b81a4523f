"""Graphs of integers: nets of ``edges``, quantized in any way."""

from __future__ import annotations

import numpy as np

from graphopt.errors import Unsupported
from graphopt.ir import Constant, Graph, Input, Op
from graphopt.ops import (
    Dequantize,
    Gather,
    Identity,
    Pad,
    Quantize,
    Reshape,
    Resize,
    Slice,
    Split,
    Tile,
    Transpose,
)
from graphopt.passes import Quantize as QuantizePass
from graphopt.passes.contract import random_inputs
from graphopt.testing.edges import draw_layers
from graphopt.testing.extremes import with_extremes

ROUNDED_ONCE: tuple[type[Op], ...] = (
    *(Input, Constant, Quantize, Dequantize),
    *(Identity, Reshape, Transpose, Slice, Split, Gather, Pad, Tile, Resize),
)
"""What may compute floats in a graph whose results are the same bits everywhere."""
WEIGHTS = (*["int8"] * 6, "int4", "int4-grouped", "binary")
ACTIVATIONS = ("int8", "int8", "int8", "int8", "int16")
OBSERVERS = ("minmax", "minmax", "minmax", "percentile", "mse")
OVERRIDES = ("int16", "int8", "int4", "binary")


def integer_graph(seed: int, max_layers: int = 6) -> Graph:
    """A net of a seed, quantized by a scheme of it, from and to float32 mostly.

    Raises ``Unsupported`` where something of it stays float: the evaluator and programs then differ by rounding.
    """
    rng = np.random.default_rng(seed)
    net = draw_layers(lambda low, high: int(rng.integers(low, high + 1)), max_layers)
    graph = quantized(net, rng)
    graph = with_extremes(graph, rng) if rng.random() < 0.3 else graph
    expect_exact(graph)
    return graph


def expect_exact(graph: Graph) -> None:
    """Raise ``Unsupported`` where something computes floats, and not by one rounding."""
    for node in graph.nodes:
        if any(v.type.is_float for v in (*node.inputs, *node.results)) and not isinstance(node.op, ROUNDED_ONCE):
            raise Unsupported("it stays float", where=graph.names[node])


def quantized(net: Graph, rng: np.random.Generator) -> Graph:
    """The net by any scheme, on normal data of any magnitude."""
    weights = str(rng.choice(WEIGHTS))
    activations = str(rng.choice((*ACTIVATIONS, "binary", "binary") if weights == "binary" else ACTIVATIONS))
    names = [net.names[n] for n in net.nodes if not isinstance(n.op, Input | Constant)]
    some = rng.choice(names, rng.integers(1, 3)) if names and rng.random() < 0.2 else ()
    magnitude = np.float32(rng.choice([1.0, 1.0, 0.05, 30.0]))
    data = [{name: magnitude * x for name, x in random_inputs(net, int(s)).items()} for s in rng.integers(0, 999, 2)]
    return QuantizePass(
        weights=weights,
        activations=activations,
        per_channel=bool(rng.random() < 0.75),
        observer=str(rng.choice(OBSERVERS)),
        overrides={str(name): str(rng.choice(OVERRIDES)) for name in some},
        recover=(),
        calibration=data,
    )(net)
