"""Batch norms from data: put behind layers for training, and given the statistics of what they see now."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ops import BatchNorm, Conv, ConvTranspose, Linear
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Bounded, Exact
from graphopt.passes.data import Data, batches, inputs_of
from graphopt.passes.quantize.recover.recovery import data_of
from graphopt.passes.quantize.recover.replay import Replay
from graphopt.passes.quantize.unfuse import unfused
from graphopt.rewrite import Decline


class InsertBatchNorm(Pass, name="insert-batch-norm", contract=Exact()):
    """Put a batch norm that changes nothing behind each layer: the opposite of ``fold-batch-norm``, for training.

    Files for deployment have their norms folded, and without them a net trains slowly (Ioffe and Szegedy, 2015). Mean
    and variance are those of the layer's result on the data; bias and scale undo them. ``calibration`` are batches.
    ``layers`` holds patterns of the names of the layers; by default it is every conv, conv_transpose and linear.

    Declines: a layer whose result is an output of the graph or not ``[n, c, ...]`` of floats, and one whose reader
    is a batch norm.
    """

    tells_users = True
    layers: tuple[str, ...] | list[str] = ("*",)
    calibration: Data | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.layers, str):
            advice = "give a list of patterns"
            raise InvalidInput(f"layers is one string, {self.layers!r}", where=self.name, advice=advice)

    def run(self, graph: Graph, context: Context) -> Graph:
        graph = unfused(graph, context, self.name)
        replay = Replay(graph, in_floats_of(graph, data_of(self.calibration, context, self.name)))
        normed = {node.inputs[0] for node in graph.nodes if isinstance(node.op, BatchNorm)}
        found: dict[Node, tuple[Array, Array]] = {}
        for node in graph.nodes:
            results = replay.run(node)
            if not self.names_layer(graph, node):
                continue
            try:
                refuse_norm(node, normed, graph.outputs)
            except Decline as why:
                context.notes.append(Note(self.name, graph.names[node], str(why), declined=True))
            else:
                found[node] = statistics(results)
                context.notes.append(
                    Note(self.name, graph.names[node], f"a batch norm of {len(found[node][0])} channels")
                )

        def with_norms(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            return [with_norm(node, inputs, graph.names[node], *found[node])] if node in found else None

        return rebuild(graph, with_norms)

    def names_layer(self, graph: Graph, node: Node) -> bool:
        is_layer = isinstance(node.op, Conv | ConvTranspose | Linear)
        return is_layer and any(fnmatchcase(graph.names[node], pattern) for pattern in self.layers)


class ReestimateBatchNorm(Pass, name="reestimate-batch-norm", contract=Bounded(0.0)):
    """Give each batch norm the mean and variance of its input on the data, one norm after the other.

    For graphs whose norms are not folded: pruned ones, and graphs of quantize and dequantize. The normalized values
    then have mean 0 and variance 1 on the data, as in training. ``calibration`` are batches.
    """

    tells_users = True
    calibration: Data | None = field(default=None, compare=False, repr=False)

    def run(self, graph: Graph, context: Context) -> Graph:
        graph = unfused(graph, context, self.name)
        replay = Replay(graph, data_of(self.calibration, context, self.name))
        new: dict[Node, tuple[Array, Array]] = {}
        for node in graph.nodes:
            if not isinstance(node.op, BatchNorm) or any(v.constant is None for v in node.inputs[3:]):
                replay.run(node)
                continue
            mean, var = statistics(replay.arrays[node.inputs[0]])
            new[node] = mean, var
            replay.run(node, {3: mean, 4: var})
            context.notes.append(Note(self.name, graph.names[node], f"mean and variance of {len(mean)} channels"))

        def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if node not in new:
                return None
            parts = [constant(a, like=v) for a, v in zip(new[node], node.inputs[3:], strict=True)]
            return node.with_inputs((*inputs[:3], *parts)).results

        return rebuild(graph, replaced)


def in_floats_of(graph: Graph, data: Data) -> list[dict[str, Array]]:
    """The batches with their floats in the precision of the graph: contracts are held in float64 too."""
    types = {graph.names[value.node]: value.type for value in graph.inputs}
    return [
        {name: array.astype(types[name].dtype) if types[name].is_float else array for name, array in batch.items()}
        for batch in (inputs_of(graph, batch) for batch in batches(data, graph))
    ]


def refuse_norm(layer: Node, normed: Container[Value], outputs: Container[Value]) -> None:
    """Decline a layer whose result a batch norm does not suit."""
    result = layer.results[0]
    if not result.type.is_float:
        raise Decline(f"its result is {result.type.dtype}")
    if isinstance(layer.op, Linear) and result.type.rank != 2:
        raise Decline(f"its channels are not on axis 1 of {result.type}")
    if result in outputs:
        raise Decline("its result is an output")
    if result in normed:
        raise Decline("it has a batch norm")


def with_norm(layer: Node, inputs: tuple[Value, ...], name: str, mean: Array, var: Array) -> Value:
    """A layer with a batch norm that changes nothing where its input has this mean and variance, and any other."""
    norm = BatchNorm()
    scale = np.sqrt(var + var.dtype.type(norm.epsilon))
    parts: dict[str, Any] = {"scale": scale, "bias": mean, "mean": mean, "var": var}
    constants = [constant(array, name=f"{name}.norm.{part}") for part, array in parts.items()]
    return norm(layer.with_inputs(inputs).results[0], *constants, name=f"{name}.norm")


def statistics(batches: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and variance [c] along axis 1 over all batches, computed in float64."""
    columns = [np.moveaxis(b, 1, 0).reshape(b.shape[1], -1).astype(np.float64) for b in batches]
    every = np.concatenate(columns, axis=1)
    dtype = batches[0].dtype
    return every.mean(1).astype(dtype), every.var(1).astype(dtype)
