"""The contents and costs of a graph, for ``graphopt inspect``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from graphopt.ir import Constant, Graph, Input, bind_batch
from graphopt.ops.macs import macs_of
from graphopt.report.cost import Cost, cost_of
from graphopt.report.memory import Layer, layers_of, peak_layer


@dataclass(frozen=True)
class ModelPort:
    """An input or output, and its type in words: ``float32[N, 3, 32, 32]``."""

    name: str
    type: str


@dataclass(frozen=True)
class OperatorCount:
    """An operator, the number of its nodes, and their multiply-accumulates."""

    operator: str
    nodes: int
    macs: int


@dataclass(frozen=True)
class ModelReport:
    """The report of a graph at a batch size.

    ``peak_activation_bytes`` is the memory at ``peak_layer`` if every node of the graph runs alone. The workspace
    of a compiled program is smaller, since its nodes are fused and may be quantized.
    """

    name: str
    batch: int
    inputs: tuple[ModelPort, ...]
    outputs: tuple[ModelPort, ...]
    operators: tuple[OperatorCount, ...]
    cost: Cost
    peak_activation_bytes: int
    peak_layer: str | None
    layers: tuple[Layer, ...]


def describe_model(graph: Graph, batch: int = 1) -> ModelReport:
    """The report of a graph at a batch size."""
    layers = layers_of(graph, batch)
    peak = peak_layer(layers)
    return ModelReport(
        name=graph.name,
        batch=batch,
        inputs=tuple(ModelPort(graph.names[v.node], str(v.type)) for v in graph.inputs),
        outputs=tuple(ModelPort(n, str(v.type)) for n, v in zip(graph.output_names, graph.outputs, strict=True)),
        operators=count_operators(graph, batch),
        cost=cost_of(graph, batch),
        peak_activation_bytes=peak.live_bytes if peak else 0,
        peak_layer=peak.name if peak else None,
        layers=tuple(layers),
    )


def count_operators(graph: Graph, batch: int) -> tuple[OperatorCount, ...]:
    """The counts of all operators, the most frequent first."""
    counts, macs = Counter[str](), Counter[str]()
    for node in bind_batch(graph, batch).nodes:
        if not isinstance(node.op, Constant | Input):
            counts[node.op.name] += 1
            macs[node.op.name] += macs_of(node)
    return tuple(OperatorCount(name, count, macs[name]) for name, count in counts.most_common())
