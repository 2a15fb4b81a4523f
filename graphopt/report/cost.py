"""The cost of a graph: parameters, multiply-accumulates, activation memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphopt.ir import Constant, Graph, Input, bind_batch
from graphopt.ops import stored_bytes
from graphopt.ops.macs import macs_of


@dataclass(frozen=True)
class Cost:
    """Costs of a graph, of one node, or of several: counts, and sizes in bytes. Parameters have those of programs."""

    parameters: int
    parameter_bytes: int
    macs: int
    largest_activation_bytes: int


def cost_of(graph: Graph, batch: int = 1) -> Cost:
    """The costs of a graph at a batch size."""
    bound = bind_batch(graph, batch)
    constants = [n.results[0] for n in bound.nodes if isinstance(n.op, Constant)]
    activations = [sum(t.nbytes for t in n.types) for n in bound.nodes if not isinstance(n.op, Constant | Input)]
    return Cost(
        sum(math.prod(v.type.static_shape) for v in constants),
        sum(map(stored_bytes, constants)),
        sum(macs_of(n) for n in bound.nodes),
        max(activations, default=0),
    )
