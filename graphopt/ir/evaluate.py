"""The reference evaluator: runs a graph node by node in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphopt.errors import InvalidGraph
from graphopt.ir.graph import Graph, Value, bind_batch, match_inputs
from graphopt.ir.op import Array
from graphopt.ir.types import Batch


def evaluate(graph: Graph, inputs: Mapping[str, Array] | Sequence[Array]) -> tuple[Array, ...]:
    """The outputs for the given inputs, by name or in order. The batch is read off the inputs."""
    arrays = match_inputs(graph, inputs)
    if graph.is_symbolic:
        graph = bind_batch(graph, batch_of(arrays, graph))
    env = dict(zip(graph.inputs, arrays.values(), strict=True))
    last_use = {value: node for node in graph.nodes for value in node.inputs}
    outputs = set(graph.outputs)  # calibration asks for all values
    for node in graph.nodes:
        if node.results[0] in env:
            continue
        results = node.op.evaluate(*(env[v] for v in node.inputs))
        results = results if isinstance(results, tuple) else (results,)
        for value, data in zip(node.results, results, strict=True):
            if data.shape != value.type.shape or str(data.dtype) != value.type.dtype:
                raise InvalidGraph(
                    f"evaluated to {data.dtype}{list(data.shape)}, its type is {value.type}", where=graph.names[node]
                )
            env[value] = data
        for value in node.inputs:
            if last_use[value] is node and value not in outputs:
                env.pop(value, None)
    return tuple(env[v] for v in graph.outputs)


def batch_of(arrays: Mapping[Value, Array], graph: Graph) -> int:
    """The batch size that the given arrays have."""
    for value, data in zip(graph.inputs, arrays.values(), strict=True):
        for dim, size in zip(value.type.shape, data.shape, strict=True):
            if isinstance(dim, Batch):
                return int(size) // dim.factor
    return 1
